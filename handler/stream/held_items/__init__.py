"""Hold failing items, retry them in turns, and answer an operator's skip and redrive requests."""
