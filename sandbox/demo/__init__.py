"""The demo: what it writes, what it lets fail, what it measures."""
