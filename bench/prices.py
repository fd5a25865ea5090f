"""Prices of AWS, and what they count."""

MILLION = 1_000_000
WRITE_UNIT, READ_UNIT = 1024, 4096
"""Bytes of one write request unit, and of one strongly consistent read request unit (two eventually consistent)."""
REQUEST_PRICE = 0.20 / MILLION
PRICES = {
    "write units": 0.625 / MILLION,
    "read units": 0.125 / MILLION,
    "retry runs": REQUEST_PRICE + 1.00 / MILLION,
    "retry GB-seconds": 0.0000166667,
    "parked": 5.00 / MILLION,
}
"""US dollars in us-east-1 in November 2026, free tiers left out: DynamoDB on demand, standard class
(aws.amazon.com/dynamodb/pricing, since 2024-11: $0.625 a million write and $0.125 a million read request units); Lambda
(aws.amazon.com/lambda/pricing: REQUEST_PRICE, and $0.0000166667 a GB-second on x86) and EventBridge Scheduler
(aws.amazon.com/eventbridge/pricing: $1.00 a million invocations), one of each a retry run; S3 ($0.005 a thousand
PUTs)."""
MEMORY_GB = 0.5
"""A consumer's memory unless set otherwise: 512 MB."""
SECONDS_OF_MONTH = 30 * 86_400
