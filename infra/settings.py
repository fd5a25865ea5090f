"""The stack's configuration. All of it is checked before the first resource, and one error lists every mistake."""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pulumi
from pulumi.runtime.config import CONFIG
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from infra import engine
from infra.archive.handler_module import module_of
from infra.archive.sources import ROOT
from infra.archive.targets import Target
from infra.rules.mappings import DAY_SECONDS
from infra.rules.view import as_flag

MAPPING_FIELDS = {to_camel(name): value for name, value in engine.MAPPING.items()}
"""The retry settings of a mapping, by Pulumi's names; the engine needs its own values for them."""

REMOVED_FIELDS = {
    "maximumRetryAttempts": "the engine retries a failing item until giveUpAfter has passed, however often",
    "bisectBatchOnFunctionError": "it is always on, so that bisecting finds a change that ends the function",
    "maximumRecordAgeInSeconds": "the engine holds a failing item outside the stream until giveUpAfter has passed, and "
    f"the mapping's own limit is {engine.RECORD_AGE_SECONDS} s",
    "giveUpAloneAfter": "giveUpAfter applies to every item, whether other items succeed or not",
}
"""Former fields of Tuning, each with its replacement."""

OBJECTS = ("alarms", "confirmedDrained", "tuning")
"""The keys whose values are objects, which the CLI passes as JSON."""

SET_IN_CODE = "; to set another value, pass StreamConsumer(mapping_args={...})"


SECTION = ConfigDict(
    frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True, validate_default=True
)
"""How the objects in the stack file are validated."""


class Tuning(BaseModel):
    """Sizes of one consumer, under `tuning` in the stack file. Most fields are named as in pulumi_aws.

    `tracing`, `give_up_after`, `handler_timeout` and `workers` are the engine's own fields. The retry settings of a
    mapping are not among the fields, because the engine needs its own values for them (infra/engine.py).
    """

    model_config = SECTION

    memory_size: int = Field(default=512, ge=128, le=10_240, description="MB, Lambda's limits")
    timeout: int = Field(
        default=60,
        ge=6,
        le=900,
        description="seconds; at least 6, six times the shortest handlerTimeout, and at most 900, Lambda's limit",
    )
    retention_in_days: Literal[
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = Field(default=30, description="days for which CloudWatch keeps the log, CloudWatch's choices")
    tracing: bool = Field(default=False, description="X-Ray; one trace for each invocation")

    enabled: bool = Field(
        default=True,
        description="a disabled mapping keeps its position, and the stream its records for 24 h; retries stop, too",
    )
    starting_position: Literal["TRIM_HORIZON", "LATEST"] = Field(
        default="TRIM_HORIZON",
        description="the two positions of a stream; LATEST may miss changes while a mapping is created or updated",
    )
    batch_size: int = Field(default=100, ge=1, le=10_000, description="records, Lambda's limits for a stream")
    maximum_batching_window_in_seconds: int = Field(default=0, ge=0, le=300, description="seconds, Lambda's limits")
    parallelization_factor: int = Field(
        default=1, ge=1, le=10, description="concurrent batches of one shard, Lambda's limits"
    )
    give_up_after: int = Field(
        default=7 * DAY_SECONDS,  # enough time to notice, fix and deploy, even over a weekend
        ge=60,
        le=30 * DAY_SECONDS,
        description="seconds for which a failing item is retried; at least 60, for one retry, and at most 30 days",
    )
    handler_timeout: int = Field(
        default=10,
        ge=1,
        le=150,
        description="seconds for one change; at most 150, a sixth of Lambda's limit for a function",
    )
    workers: int = Field(
        default=10,
        ge=1,
        le=100,
        description="threads, each for one item; at most 100, a tenth of the 1,024 that Lambda allows",
    )

    @field_validator("handler_timeout")
    @classmethod
    def _check_share_of_timeout(cls, seconds: int, info: ValidationInfo) -> int:
        timeout = info.data.get("timeout")
        if timeout is not None and seconds * 6 > timeout:
            raise ValueError(f"must be at most a sixth of timeout ({timeout}), so that several changes get their turn")
        return seconds


NO_ADDRESS = "required, because the stack is protected: name who is told of a fault, an e-mail address or an SNS topic"

ADDRESS = r"^([^@\s]+@[^@\s]+\.[^@\s]+|arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+)?$"


class AlarmSettings(BaseModel):
    """Who is told of a fault, and when: `alarms` in the stack file."""

    model_config = SECTION

    page_to: str = Field(
        default="", pattern=ADDRESS, description="an e-mail address or the ARN of an SNS topic; pages are for now"
    )
    ticket_to: str = Field(
        default="", pattern=ADDRESS, description="the same; tickets are for working hours, and go to pageTo by default"
    )
    runbook: str = Field(
        default="docs/runbook.md", description="the address of the runbook, to which alarms add #section"
    )
    held_after: int = Field(
        default=1_800,  # by then the engine has retried the item about ten times
        ge=60,
        le=7 * DAY_SECONDS,
        description="seconds for which an item is held; an item is tried again after 60 at the earliest",
    )
    many_held: int = Field(
        default=20,  # as many failures in a row make an environment down
        ge=1,
        le=10_000,
        description="items held at the same time; at most 10,000, by which time every change must be failing",
    )
    late_after: int = Field(
        default=3_600,
        ge=60,
        le=DAY_SECONDS - 3_600,
        description="seconds of IteratorAge; at most 23 hours, because the stream keeps a change for 24",
    )
    losing_after: int = Field(
        default=DAY_SECONDS // 4,  # three quarters of the time are left for mending and catching up
        ge=60,
        le=DAY_SECONDS - 3_600,
        description="seconds of IteratorAge; at most 23 hours, because the stream keeps a change for 24",
    )
    near_timeout_share: float = Field(
        default=0.8, ge=0.1, le=1, description="of the function's timeout; at most 1, since no invocation takes longer"
    )

    @field_validator("page_to")
    @classmethod
    def _check_protected_address(cls, address: str, info: ValidationInfo) -> str:
        if not address and info.context and info.context["protect"]:
            raise ValueError(NO_ADDRESS)
        return address

    def address(self, level: str) -> str:
        """Return who is told of alarms of a level, `page` or `ticket`; empty if nobody is."""
        return self.page_to if level == "page" else self.ticket_to or self.page_to


def _check_module(consumer: str, info: ValidationInfo) -> str:
    try:
        if info.context:
            module_of(consumer, info.context["root"])
    except pulumi.RunError as error:
        raise ValueError(str(error)) from error
    return consumer


class Settings(BaseModel):
    """The values that differ between stacks: the project's keys in the stack file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # an input may be a secret
        alias_generator=to_camel,
        populate_by_name=True,
    )

    target: Target = Field(
        default="arm64",
        description="for what the functions are built: one of Lambda's two architectures, or this machine",
    )
    bytecode: bool = Field(
        default=False, description="whether the archive has bytecode, so that no cold start compiles the code"
    )
    protect: bool = Field(
        default=False, description="protects tables, stores and consumers from being deleted or replaced"
    )
    mail_from: str = Field(
        default="", pattern=r"^([^@\s]+@[^@\s]+\.[^@\s]+)?$", description="an address that is verified with SES"
    )
    encryption: Literal["aws", "customer"] = Field(
        default="aws",
        description="keys that encrypt tables, stores, logs and variables: AWS's, or one of the stack's own",
    )
    failure_retention_in_days: int = Field(
        default=30, ge=1, le=3_650, description="whole days, at least 1 (S3 lifecycle)"
    )
    confirmed_drained: dict[str, Annotated[str, Field(pattern=r"^arn:[^:]+:dynamodb:.+/stream/.+$")]] = Field(
        default_factory=dict[str, str],
        description="each table's name with the ARN of its drained stream, as the error for a new view type shows",
    )
    alarms: AlarmSettings = Field(
        default_factory=AlarmSettings, description="who is told of a fault, and from which values on"
    )
    tunings: dict[Annotated[str, AfterValidator(_check_module)], Tuning] = Field(
        default_factory=dict, alias="tuning", description="each consumer's name with its sizes"
    )

    @field_validator("bytecode")
    @classmethod
    def _check_bytecode(cls, bytecode: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic passes the value
        if bytecode and info.data.get("target") == "host":
            raise ValueError("the sandbox edits the code of functions for this machine, and bytecode would hide that")
        return bytecode

    def tuning(self, consumer: str) -> Tuning:
        """Return the sizes of `consumer`, or the defaults if the stack file does not name it."""
        return self.tunings.get(consumer) or Tuning()

    @classmethod
    def load(cls, root: Path = ROOT) -> Self:
        """Read the stack's configuration; `root` is the project's directory, where the consumers' modules are.

        Raises
        ------
        pulumi.RunError
            A key is unknown or a value is out of bounds; the message lists all mistakes at once.
        """
        prefix = f"{pulumi.get_project()}:"
        texts = {key.removeprefix(prefix): text for key, text in _all_config().items() if key.startswith(prefix)}
        values = {name: _parse(name, text) for name, text in texts.items()}
        values.setdefault("alarms", {})  # so that the check of its defaults reports with all others
        context = {"root": root, "protect": as_flag(values.get("protect")) is True}
        try:
            return cls.model_validate(values, by_alias=True, by_name=False, context=context)
        except ValidationError as error:
            lines = [f"\n  {_describe(prefix, each)}" for each in error.errors(include_url=False)]
            count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
            raise pulumi.RunError(
                f"the configuration of stack {pulumi.get_stack()} has {count}:{''.join(lines)}"
            ) from error


def _all_config() -> dict[str, str]:
    """Return every key of every namespace. `pulumi.Config` cannot list its keys, so it would hide unknown keys."""
    return {**pulumi.runtime.get_config_env(), **CONFIG.get()}


def _parse(name: str, value: str) -> Any:
    """Return the value of the stack file."""
    if name not in OBJECTS:
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value


def _describe(prefix: str, error: ErrorDetails) -> str:
    """Return one line about a mistake: the key, its value unless it is secret, the cause and the bound's reason."""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    model = _model_at(path)
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    unknown = error["type"] == "extra_forbidden"
    if not unknown and path[-1] in model.model_fields:
        path[-1] = to_camel(path[-1])  # pydantic reports a refused default by its Python name
    key = prefix + ".".join(path)
    cause = str(error.get("ctx", {}).get("error") or error["msg"].removeprefix("String ").removeprefix("Input "))
    if "[key]" in error["loc"]:
        return f"{key}: {cause}"
    if unknown and model is Tuning and path[-1] in REMOVED_FIELDS:
        cause = f"no longer a setting: {REMOVED_FIELDS[path[-1]]}" + (SET_IN_CODE if path[-1] in MAPPING_FIELDS else "")
    elif unknown:
        completions = [name for name in fields if name.lower().startswith(path[-1].lower())]
        near = completions if len(completions) == 1 else get_close_matches(path[-1], fields, n=1, cutoff=0.8)
        cause = "no such key; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}")
    elif (field := path[-1] if path[-1] in fields else path[0]) in fields:
        cause += f" ({fields[field].description})"
    value = "[secret]" if _is_secret(prefix + path[0]) else json.dumps(error["input"])
    return f"{key} = {value}: {cause}"


def _model_at(path: Sequence[str]) -> type[BaseModel]:
    """Return the model with the last key of the path."""
    match path:
        case "tuning", _, _, *_:
            return Tuning
        case "alarms", _, *_:
            return AlarmSettings
        case _:
            return Settings


def _is_secret(key: str) -> bool:
    return key in pulumi.runtime.get_config_secret_keys_env() or pulumi.runtime.is_config_secret(key)
