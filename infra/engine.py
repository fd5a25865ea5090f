"""What the engine asks of whatever invokes it, the same for every consumer; standard library only."""

from collections.abc import Mapping

RECORD_AGE_SECONDS = 86_100
"""Seconds (23 h 55 min) after which a mapping discards a record.

The stream keeps a record for 24 h. So a mapping that starts at the stream's beginning, or is enabled again, runs what
the stream still has, and a change that the function could not even start goes to the failure bucket, whole, in the five
minutes before the stream may forget it.
"""

MAPPING: Mapping[str, int] = {
    "bisect_batch_on_function_error": True,  # a batch is halved until the change that ends the function stands alone
    "maximum_retry_attempts": -1,  # without end: the first outage would use a count up, for healthy changes too
    "maximum_record_age_in_seconds": RECORD_AGE_SECONDS,
}
"""How a mapping itself gives up, by pulumi_aws's names: a last resort, since the engine holds and parks."""

RETRY: Mapping[str, str] = {"table-stream": "retry"}
"""The request by which a function tries again what it holds."""
