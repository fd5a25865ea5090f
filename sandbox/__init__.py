"""AWS on this machine: an emulator, the program deployed in it, and mappings that behave as AWS's do."""
