"""What runs in Lambda: one module a consumer, and `handler.stream`, which they share."""
