"""One invocation with a batch: check the records, run the items concurrently, and handle each failure."""
