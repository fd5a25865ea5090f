"""The values that the engine requires of each mapping and schedule; standard library only."""

from collections.abc import Mapping

RECORD_AGE_SECONDS = 86_100
"""Seconds (23 h 55 min) after which a mapping discards a record.

The stream keeps a record for 24 h. So a mapping that starts at the beginning of the stream, or is enabled again,
processes almost all records of the stream. The mapping has five minutes to write a record that the function could not
process to the failure bucket, before the stream deletes the record.
"""

MAPPING: Mapping[str, int] = {
    "bisect_batch_on_function_error": True,  # finds the change that crashes the function
    "maximum_retry_attempts": -1,  # retries until the record is too old; the first outage would use a count up
    "maximum_record_age_in_seconds": RECORD_AGE_SECONDS,
}
"""When a mapping gives a record up, by the names of pulumi_aws. This is the last resort: the engine holds and parks."""

RETRY: Mapping[str, str] = {"table-stream": "retry"}
"""The event with which the schedule invokes a function for a retry run."""
