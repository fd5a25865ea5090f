"""Log lines of consumers: reads them as they come, selects them, and makes them readable."""
