"""The page of the sandbox: it shows the facts in a browser, edits items, and runs the operator's commands."""
