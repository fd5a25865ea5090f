"""The way of the functions to the emulator: it shows what they send, provokes faults, and finds missing permissions."""
