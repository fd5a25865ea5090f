"""Adds to the user's program: a consumer with its module, its test and its entry, or a dependency of the functions.

It needs the standard library only, so that `python3 -m sandbox new` works before the first `make`.
"""
