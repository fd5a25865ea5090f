"""Deploys the program again when its files change, unless it could not work: then it says where the mistake is."""
