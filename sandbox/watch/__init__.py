"""What happens in the sandbox, as facts that the terminal, the page and `python -m sandbox watch` read."""
