"""The alarms of one table."""

from collections.abc import Iterator, Sequence

import pulumi

from infra.internal.monitoring.alarm import MINUTE, Alarm, any_of
from infra.internal.monitoring.metrics import of_operation, of_table

STREAM_OPERATIONS = ("GetRecords",)
"""The calls of the mappings on a table that a consumer reads."""
LEDGER_OPERATIONS = ("BatchGetItem", "BatchWriteItem", "DeleteItem", "PutItem", "Query", "UpdateItem")
"""The calls of the engine on the ledger (`infra.grants.keep_ledger`)."""


def alarms_of_table(name: str, table_name: pulumi.Input[str], operations: Sequence[str]) -> Iterator[Alarm]:
    """Yield the alarms of a table that the program calls `name`; the engine uses it by these operations."""
    throttled = Alarm(
        *("requests-throttled", "ticket", "tables-and-ledger"),
        f"DynamoDB throttles requests to {name}: a partition, or a limit of the table, is too small for the traffic.",
        {},
        threshold=1,
        period=MINUTE,
        datapoints=3,  # the SDK retries single throttled requests
        periods=5,
    )
    metrics = [of_table(table_name, f"{kind}ThrottleEvents") for kind in ("Read", "Write")]
    yield from any_of(throttled, metrics)
    failed = Alarm(
        *("requests-failed", "ticket", "tables-and-ledger"),
        f"DynamoDB answers requests to {name} with internal errors (HTTP 500).",
        {},
        threshold=1,
        period=MINUTE,
        datapoints=3,  # the SDK retries single failed requests
        periods=5,
    )
    yield from any_of(failed, [of_operation(table_name, operation, "SystemErrors") for operation in operations])
