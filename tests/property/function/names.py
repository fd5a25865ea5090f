"""Names that a history gives to its resources."""

LEDGER, BUCKET, CONSUMER, TARGET = "ledger", "failures", "consumer", "mirror"
