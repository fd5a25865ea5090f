"""What the engine asks of whatever invokes it, the same for every consumer; standard library only."""

from collections.abc import Mapping

RECORD_AGE = 82_800
"""Seconds (23 h) after which a mapping discards a record.

Less than the 24 h for which a stream keeps it: a change that none of our code could start goes to the failure store,
whole, before the stream forgets it. Hardly less: a mapping that starts at a stream's beginning delivers what is there.
"""

MAPPING: Mapping[str, int] = {
    "bisect_batch_on_function_error": True,  # a batch is halved until the change that ends the function stands alone
    "maximum_retry_attempts": -1,  # without end: the first outage would use a count up, for healthy changes too
    "maximum_record_age_in_seconds": RECORD_AGE,
}
"""How a mapping itself gives up, by pulumi_aws's names: a last resort, since the engine holds and parks."""

RETRY: Mapping[str, str] = {"table-stream": "retry"}
"""The request by which a function tries again what it holds."""
