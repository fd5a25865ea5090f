"""The front: the sandbox's address for clients, which adds to the emulator what operators' commands need."""
