"""Tables that the program only names, made from files, and items that survive a restart of the sandbox."""
