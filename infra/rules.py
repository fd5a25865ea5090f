"""Combinations that are unsafe, each stated once, as plain functions over resources; standard library only.

The program runs them at preview, the policy pack runs the same ones over any program's resources.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar, cast

from infra.engine import RECORD_AGE
from infra.resource import (
    ATTACHMENT,
    BUCKET,
    BUCKET_POLICY,
    BUCKET_PRIVATE,
    FUNCTION,
    LOG_GROUP,
    MAPPING,
    POLICY,
    QUEUE,
    QUEUE_POLICY,
    ROLE,
    ROLE_POLICY,
    SCHEDULE,
    TABLE,
    TOPIC,
    TOPIC_POLICY,
    UNKNOWN,
    Resource,
    allowed,
    called,
    linked,
    may_write,
    names_nothing,
    number,
    of,
    reads_a_stream,
    sources,
    texts,
    within,
)

DAY = 86_400
"""Seconds. A stream keeps its records this long (AWS's limit)."""

READERS = 2
"""Readers that a stream serves without throttling them all (AWS's recommendation)."""

SUFFIX = 8
"""Characters that Pulumi adds to a resource's name where it makes up the physical one: a dash and seven of its own."""

LONGEST = {FUNCTION: 64, ROLE: 64, SCHEDULE: 64, BUCKET: 63, TABLE: 255, QUEUE: 80}
"""Characters of a name (AWS's limits)."""

RUNTIMES = {
    "python3.9": date(2025, 12, 15),
    "python3.10": date(2026, 10, 31),
    "python3.11": date(2027, 6, 30),
    "python3.12": date(2028, 10, 31),
    "python3.13": date(2029, 6, 30),
    "python3.14": date(2029, 6, 30),
}
"""Days on which Lambda deprecates a run-time (docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html)."""

NOTICE = timedelta(days=180)
"""How long before that a run-time is worth a word."""

UNSCOPED = re.compile(
    r"xray:.+|cloudwatch:PutMetricData|ecr:GetAuthorizationToken|s3:ListAllMyBuckets"
    r"|(?:ec2|logs|kms|lambda|iam|dynamodb|sqs|sns):(?:Describe|List)\w+s"
    r"|ec2:\w*(?:NetworkInterface|PrivateIpAddress)\w*"
)
"""Actions of functions that AWS lets one allow on `*` only; searches, which bear a plural, among them."""


class Level(Enum):
    """What becomes of a finding."""

    REFUSED = "cannot work, or is never wanted: an error everywhere"
    UNSAFE = "legal in AWS and may lose data or open it: an error in a protected stack, a warning elsewhere"
    ADVICE = "a warning everywhere"


Check = Callable[[Resource], Iterator[str]]
"""Says what may happen and how to mend it, for each thing that is wrong with one resource."""

StackCheck = Callable[[Sequence[Resource]], Iterator[tuple[Resource, str]]]
"""The same over all resources together, with the one that is to be mended; the message names it."""


@dataclass(frozen=True)
class Rule:
    """A rule by name, with what it is about: the first line of its function's docstring."""

    name: str
    about: str
    level: Level
    types: frozenset[str]
    check: Check


@dataclass(frozen=True)
class StackRule:
    """A rule that compares resources."""

    name: str
    about: str
    level: Level
    check: StackCheck


OfOne = TypeVar("OfOne", bound=Check)

RULES: list[Rule] = []
STACK_RULES: list[StackRule] = []


def _rule(level: Level, *types: str) -> Callable[[OfOne], OfOne]:
    def register(check: OfOne) -> OfOne:
        RULES.append(Rule(*_named(check), level, frozenset(types), check))
        return check

    return register


def _stack_rule(level: Level) -> Callable[[StackCheck], StackCheck]:
    def register(check: StackCheck) -> StackCheck:
        STACK_RULES.append(StackRule(*_named(check), level, check))
        return check

    return register


def _named(check: Callable[..., object]) -> tuple[str, str]:
    return check.__name__.replace("_", "-"), (check.__doc__ or "").splitlines()[0]


def findings(resources: Sequence[Resource]) -> Iterator[tuple[Level, str]]:
    """What every rule says of these, a message beginning with the name of what is to be mended."""
    for resource in resources:
        for rule in RULES:
            if resource.type in rule.types:
                yield from ((rule.level, f"{resource.name}: {message}") for message in rule.check(resource))
    for rule in STACK_RULES:
        yield from ((rule.level, message) for _, message in rule.check(resources))


# One mapping


@_rule(Level.UNSAFE, MAPPING)
def mapping_without_destination(mapping: Resource) -> Iterator[str]:
    """What a mapping gives up goes to a destination."""
    given = within(mapping.inputs, "destinationConfig", "onFailure", "destinationArn")
    if reads_a_stream(mapping) and not given:
        yield "no destinationConfig.onFailure: what the mapping gives up is gone; name a bucket, which gets it whole"


@_rule(Level.UNSAFE, MAPPING)
def position_latest(mapping: Resource) -> Iterator[str]:
    """A mapping starts at what the stream has."""
    if reads_a_stream(mapping) and mapping.inputs.get("startingPosition") == "LATEST":
        yield (
            "startingPosition LATEST: changes made in the minutes while the mapping is created or updated are missed; "
            "take TRIM_HORIZON, and pass over in the handler what is too old"
        )


@_rule(Level.UNSAFE, MAPPING)
def counted_retries(mapping: Resource) -> Iterator[str]:
    """A mapping gives up by age, not by a count of retries."""
    attempts = number(mapping.inputs.get("maximumRetryAttempts"), -1)
    if reads_a_stream(mapping) and attempts >= 0:
        yield (
            f"maximumRetryAttempts {attempts}: the first outage of a dependency uses them up within minutes, and "
            "healthy changes are given up with the sick; leave it at -1 and bound maximumRecordAgeInSeconds"
        )


@_rule(Level.UNSAFE, MAPPING)
def no_bisect(mapping: Resource) -> Iterator[str]:
    """A batch that ends its function is halved until what ends it stands alone."""
    if reads_a_stream(mapping) and not mapping.inputs.get("bisectBatchOnFunctionError"):
        yield (
            "no bisectBatchOnFunctionError: a change that ends the function holds up the whole batch around it, and is "
            "given up together with it; enable it"
        )


@_rule(Level.ADVICE, MAPPING)
def no_partial_responses(mapping: Resource) -> Iterator[str]:
    """A function can say which records of a batch have failed."""
    types = mapping.inputs.get("functionResponseTypes")
    if reads_a_stream(mapping) and types is not UNKNOWN and "ReportBatchItemFailures" not in (types or ()):
        yield (
            "functionResponseTypes without ReportBatchItemFailures: one failure repeats its whole batch; add it, and "
            "answer with the failed records' sequence numbers"
        )


def fenced_filters(mapping: Resource) -> Iterator[str]:
    """A consumer whose writes are fenced sees every change of an item: its filters name keys only.

    Whether writes are fenced is known to the program alone, so this is none of RULES.
    """
    for entry in within(mapping.inputs, "filterCriteria", "filters") or ():
        pattern = json.loads(entry["pattern"])
        named = [*pattern.keys() - {"dynamodb"}, *(pattern.get("dynamodb", {}).keys() - {"Keys"})]
        if named:
            yield (
                f"a filter on {' and '.join(sorted(named))}, and its writes are fenced: what the filter leaves out, "
                "removals too, would leave an older item standing for good; filter by keys only, or in the handler"
            )


def short_age(mapping: Resource) -> Iterator[str]:
    """A mapping discards nothing that the engine still counts on.

    Whether it is the engine that is invoked is known to the program alone, so this is none of RULES.
    """
    age = number(mapping.inputs.get("maximumRecordAgeInSeconds"), RECORD_AGE)
    if 0 < age < RECORD_AGE:
        yield (
            f"maximumRecordAgeInSeconds {age}: the engine counts on {RECORD_AGE}, so changes that wait in the stream "
            "while the ledger cannot be reached would be discarded, the healthy too; leave it as it is"
        )


def poor_view(table: Resource, needs: str) -> Iterator[str]:
    """A stream carries the images that its reader needs, which the reader's program alone knows."""
    view = table.inputs.get("streamViewType")
    if isinstance(view, str) and not _images(needs) <= _images(view):
        yield (
            f"streamViewType {view}: each change would lack an image that is needed, and fail; take {needs}"
            f"{'' if needs == 'NEW_AND_OLD_IMAGES' else ' or NEW_AND_OLD_IMAGES'}"
        )


def _images(view: str) -> set[str]:
    return {image for image in ("NEW", "OLD") if image in view.split("_")}


# One resource of another type


@_rule(Level.ADVICE, FUNCTION)
def runtime_near_its_end(function: Resource, today: date | None = None) -> Iterator[str]:
    """A function's run-time is supported for the next half year."""
    runtime = function.inputs.get("runtime")
    end = RUNTIMES.get(runtime) if isinstance(runtime, str) else None
    today = today or datetime.now(UTC).date()
    if end and today > end - NOTICE:
        yield (
            f"runtime {runtime}: Lambda deprecates it on {end}, and refuses updates of its functions some weeks later; "
            f"take {list(RUNTIMES)[-1]}"
        )


@_rule(Level.UNSAFE, TABLE)
def table_without_recovery(table: Resource) -> Iterator[str]:
    """A table can be restored to a point in time."""
    if not within(table.inputs, "pointInTimeRecovery", "enabled"):
        yield (
            "no pointInTimeRecovery: what a mistake overwrites is gone, and what is derived from it cannot be made "
            "again; enable it"
        )


@_rule(Level.ADVICE, TABLE)
def table_without_protection(table: Resource) -> Iterator[str]:
    """A table is not deleted by mistake."""
    if not table.inputs.get("deletionProtectionEnabled"):
        yield "no deletionProtectionEnabled: one mistake deletes it, its stream and its days to restore; enable it"


@_rule(Level.ADVICE, LOG_GROUP)
def log_without_retention(group: Resource) -> Iterator[str]:
    """A log group forgets."""
    if not group.inputs.get("retentionInDays"):
        yield "no retentionInDays: what is logged, items too, is kept and paid for without end; name the days"


@_rule(Level.REFUSED, *LONGEST)
def name_too_long(resource: Resource) -> Iterator[str]:
    """A name is no longer than AWS takes."""
    of_its_own = "bucket" if resource.type == BUCKET else "name"
    if f"{of_its_own}Prefix" in resource.inputs:
        return  # whoever gives it counts for himself
    given = resource.inputs.get(of_its_own)
    length = len(given) if isinstance(given, str) else len(resource.name) + SUFFIX
    most = LONGEST[resource.type]
    if length > most:
        own = "" if isinstance(given, str) else f" with the {SUFFIX} that Pulumi adds"
        yield f"a name of {length} characters{own}: AWS takes {most}; shorten it by {length - most}"


@_rule(Level.UNSAFE, ROLE_POLICY, POLICY, ATTACHMENT)
def wildcard_rights(policy: Resource) -> Iterator[str]:
    """A role may do what it does, and nothing else."""
    narrow = "name the calls and their resources"
    managed = policy.inputs.get("policyArn")
    if isinstance(managed, str) and managed.endswith(("FullAccess", "AdministratorAccess", "PowerUserAccess")):
        yield f"{managed.rpartition('/')[2]}: whatever runs as this role may do all of that; {narrow}"
    for statement in allowed(policy.inputs.get("policy")):
        actions = texts(statement.get("Action"))
        if broad := [action for action in actions if re.search("[*?]", action)]:
            yield f"{', '.join(broad)}: rights that nothing calls, and those that AWS will add; {narrow}"
        if {"NotAction", "NotResource"} & statement.keys():
            yield f"an Allow by NotAction or NotResource: all that is not thought of is allowed; {narrow}"
        wide = [resource for resource in texts(statement.get("Resource")) if names_nothing(resource)]
        if wide and "Condition" not in statement and not all(map(UNSCOPED.fullmatch, actions)):
            yield f"{', '.join(actions)} on {', '.join(wide)}: on all that others have in the account, too; {narrow}"


@_rule(Level.UNSAFE, BUCKET_POLICY, QUEUE_POLICY, TOPIC_POLICY, QUEUE, TOPIC)
def open_policy(resource: Resource) -> Iterator[str]:
    """A bucket, queue or topic is open to those who are named."""
    for statement in allowed(resource.inputs.get("policy")):
        who = statement.get("Principal")
        everybody = "NotPrincipal" in statement or "*" in texts(who if isinstance(who, str) else within(who, "AWS"))
        tests: Mapping[str, Any] = {} if within(statement, "Condition") is None else statement["Condition"]
        if tests is UNKNOWN:
            continue
        keys = {
            key.lower()
            for test in tests.values()
            if isinstance(test, Mapping)
            for key in cast("Mapping[str, Any]", test)
        }
        if everybody and not any(key.startswith(("aws:source", "aws:principal", "s3:resourceaccount")) for key in keys):
            yield (
                f"{', '.join(texts(statement.get('Action')))} allowed to everybody: the items in it can be read, or "
                "forged ones put there; name the principals, or bind it by aws:SourceAccount"
            )


# Resources compared


@_stack_rule(Level.UNSAFE)
def unbounded_age(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A mapping gives a record up while its stream still has it.

    A comparison, since what a mapping reads is known at preview by its dependencies alone.
    """
    for mapping in of(resources, MAPPING):
        age = mapping.inputs.get("maximumRecordAgeInSeconds", -1)
        bounded = age is not None and age != -1
        if reads_a_stream(mapping) and not (bounded and (not sources(mapping) or number(age, 0) < DAY)):
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {-1 if age is None else age}: a record that stops the "
                "function holds its shard up until the stream, after 24 h, forgets it and those behind it; bound it, "
                f"{RECORD_AGE} leaves these an hour to run",
            )


@_stack_rule(Level.REFUSED)
def third_reader(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A table's stream has at most two readers."""
    readers: dict[str, list[Resource]] = defaultdict(list)
    for mapping in of(resources, MAPPING):
        for source in sources(mapping):
            readers[source].append(mapping)
    for source, (first, second, *more) in [(each, found) for each, found in readers.items() if len(found) > READERS]:
        for mapping in more:
            yield (
                mapping,
                f"{mapping.name} would be the third reader of {called(source)}, after {first.name} and {second.name}: "
                "a stream serves two before all are throttled; do its work in one of these, or let one hand its "
                "changes on",
            )


@_stack_rule(Level.REFUSED)
def write_back_loop(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A function does not write the table whose changes it reads, unless a filter may leave its own writes out.

    Whether a policy of a table that is still to be made lets one write or read stands in a text that is known after the
    update only: then it is seen by the update, or the next preview.
    """
    tables = {table.urn: table for table in of(resources, TABLE)}
    for mapping, function in linked(resources, MAPPING, "functionName", FUNCTION):
        for table in (tables[source] for source in sources(mapping) if source in tables):
            for policy in of(resources, ROLE_POLICY):
                same = set(policy.dependencies.get("role", ())) & set(function.dependencies.get("role", ()))
                if same and not mapping.inputs.get("filterCriteria") and may_write(policy, table.inputs.get("arn")):
                    yield (
                        policy,
                        f"{function.name} reads {table.name} and may write it ({policy.name}): each write would come "
                        "back to it as a change, for ever; write another table, or filter its own writes out and "
                        "declare loops=[...]",
                    )


@_stack_rule(Level.UNSAFE)
def no_second_try(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A change that timed out is tried again before it is too old."""
    for mapping, function in linked(resources, MAPPING, "functionName", FUNCTION):
        age = number(mapping.inputs.get("maximumRecordAgeInSeconds"), -1)
        window = number(mapping.inputs.get("maximumBatchingWindowInSeconds"), 0)
        timeout = number(function.inputs.get("timeout", 3), 0)
        if 0 < age <= window + timeout:
            yield (
                mapping,
                f"{mapping.name}: maximumRecordAgeInSeconds {age}: one try may take {window + timeout} s "
                f"(maximumBatchingWindowInSeconds {window}, timeout {timeout}), so a change that times out once is "
                "given up without another; raise the age, or lower these",
            )


@_stack_rule(Level.ADVICE)
def message_comes_back_early(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A queue hides a message for six times as long as its function may take."""
    functions = {mapping.urn: function for mapping, function in linked(resources, MAPPING, "functionName", FUNCTION)}
    for mapping, queue in linked(resources, MAPPING, "eventSourceArn", QUEUE):
        if function := functions.get(mapping.urn):
            hidden = number(queue.inputs.get("visibilityTimeoutSeconds", 30), DAY)
            timeout = number(function.inputs.get("timeout", 3), 0)
            if hidden < 6 * timeout:
                yield (
                    queue,
                    f"{queue.name}: visibilityTimeoutSeconds {hidden}: a message comes back while {function.name} may "
                    f"still be at it ({timeout} s); make it {6 * timeout}, six times that (AWS's advice)",
                )


@_stack_rule(Level.REFUSED)
def fifo_destination(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """What a mapping gives up goes to a standard queue or topic."""
    for kind, fifo in ((QUEUE, "fifoQueue"), (TOPIC, "fifoTopic")):
        for mapping, target in linked(resources, MAPPING, "destinationConfig", kind):
            if target.inputs.get(fifo) is True:
                yield mapping, f"{mapping.name} cannot deliver to {target.name}, which is FIFO: take a standard one"


@_stack_rule(Level.UNSAFE)
def open_bucket(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    """A bucket's public access is blocked."""
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    blocks = {bucket.urn: block for block, bucket in linked(resources, BUCKET_PRIVATE, "bucket", BUCKET)}
    for bucket in of(resources, BUCKET):
        block = blocks.get(bucket.urn)
        lacking = [flag for flag in flags if not (block and block.inputs.get(flag))]
        if lacking:
            yield (
                bucket,
                f"{bucket.name} is not kept from being public: where AWS's default is off, one policy would show the "
                f"items in it to everybody; give it a BucketPublicAccessBlock with {', '.join(lacking)}",
            )
