"""Configuration of an event source mapping, with AWS's names and bounds, and assumptions on undocumented behaviour."""

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
    """The arguments of `create_event_source_mapping`, with the defaults and bounds of AWS's API reference.

    An option that the sandbox does not imitate, such as a tumbling window, raises a `pydantic.ValidationError` with its
    name.
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
        """Patterns of the filters, each as JSON. A record passes if it matches one of them."""
        return [each.pattern for each in self.filter_criteria.filters]


def back_off(attempts: int) -> float:
    """Return the seconds until the next attempt, after `attempts` failed ones.

    They begin at about 1 s and grow, as recorded on AWS. The cap of 60 s is an assumption.
    """
    return min(0.9 * 1.7 ** min(attempts - 1, 16), 60.0)


@dataclass(frozen=True)
class Assumptions:
    """Readings of AWS's undocumented behaviour; the defaults are the likelier ones."""

    discard_rest_of_batch: bool = True
    """When a partial failure runs out of retries, the rest of its batch goes to the destination as well."""
    halves_keep_failure_count: bool = True
    """The halves of a bisected batch inherit its count of failures; otherwise they start at 0."""
    invoke_on_empty_window: bool = False
    """A batching window without records invokes the function with an empty batch."""
    new_shards_start_at: Start = "TRIM_HORIZON"
    """Where a mapping with the starting position LATEST begins in shards that appear later."""
    filtered_records_advance: bool = True
    """Records that no filter matches move the checkpoint as soon as they are read."""
    resume_after_trim_at: Start = "TRIM_HORIZON"
    """Where the mapping continues to read after retention has passed its checkpoint."""
    malformed_response_fails: bool = True
    """A response of an undocumented shape fails the batch."""
    back_off: Callable[[int], float] = back_off
