"""One invocation's batch: its records checked, its items run at once, each change's failure judged."""
