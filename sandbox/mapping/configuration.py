"""What an event source mapping is created with, in AWS's words and bounds, and what AWS leaves open about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal

Start = Literal["TRIM_HORIZON", "LATEST"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_pascal)


class _Filter(_Model):
    pattern: str


class _Filters(_Model):
    filters: Annotated[tuple[_Filter, ...], Field(max_length=5)] = ()


class _Destination(_Model):
    destination: Annotated[str, Field(pattern=r"^arn:[^:]+:(s3|sqs|sns):")] | None = None


class _Destinations(_Model):
    on_failure: _Destination = _Destination()


class Configuration(_Model):
    """A mapping as `create_event_source_mapping` takes it, with the defaults and bounds of AWS's API reference.

    Whatever the sandbox does not imitate, tumbling windows first of all, is a `pydantic.ValidationError` that names it.
    """

    event_source_arn: str
    function_name: str
    starting_position: Start
    enabled: bool = True
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    maximum_batching_window_in_seconds: Annotated[int, Field(ge=0, le=300)] = 0
    parallelization_factor: Annotated[int, Field(ge=1, le=10)] = 1
    maximum_retry_attempts: Annotated[int, Field(ge=-1, le=10_000)] = -1
    maximum_record_age_in_seconds: Literal[-1] | Annotated[int, Field(ge=60, le=604_800)] = -1
    bisect_batch_on_function_error: bool = False
    function_response_types: tuple[Literal["ReportBatchItemFailures"], ...] = ()
    filter_criteria: _Filters = _Filters()
    destination_config: _Destinations = _Destinations()
    tumbling_window_in_seconds: Literal[0] = 0
    kms_key_arn: Annotated[str | None, Field(alias="KMSKeyArn")] = None
    tags: dict[str, str] = {}
    metrics_config: dict[str, Any] = {}

    @property
    def patterns(self) -> list[str]:
        """The filters' patterns, JSON each; a record passes when it matches one."""
        return [each.pattern for each in self.filter_criteria.filters]


def back_off(tries: int) -> float:
    """Seconds until the next try after `tries` in vain: about one at first, growing, as recorded; the cap is ours."""
    return min(0.9 * 1.7 ** min(tries - 1, 16), 60.0)


@dataclass(frozen=True)
class Assumptions:
    """What AWS does not document, each with its likelier reading as the default."""

    discard_rest_of_batch: bool = True
    """A checkpoint that fails for good takes the records after it along to the destination."""
    halves_keep_failure_count: bool = True
    """The halves of a batch start with its count of failures, not afresh."""
    invoke_on_empty_window: bool = False
    """A batching window without records invokes the function all the same."""
    new_shards_start_at: Start = "TRIM_HORIZON"
    """Where a mapping from LATEST starts in shards that appear later."""
    filtered_records_advance: bool = True
    """Records that no filter lets through move the checkpoint as soon as they are read."""
    resume_after_trim_at: Start = "TRIM_HORIZON"
    """Where reading goes on when retention has passed the checkpoint."""
    malformed_response_fails: bool = True
    """A response of a shape that no document names fails the batch."""
    back_off: Callable[[int], float] = back_off
