"""The code that Lambda runs: one module per consumer, and `handler.stream`, which all consumers share."""
