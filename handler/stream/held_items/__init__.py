"""Held items: taken in after a failure, retried in turns, skipped or put back by an operator."""
