"""Reads the facts from AWS."""
