"""Reads held items from the ledger: their names, their groups and the screens that show them."""
