"""Failures: what was parked or discarded, and how it is put back into the holds of its items."""
