"""The names of a history's resources."""

LEDGER, BUCKET, CONSUMER, TARGET = "ledger", "failures", "consumer", "mirror"
