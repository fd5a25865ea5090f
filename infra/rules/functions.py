"""Rules about functions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from infra.rules import sizes
from infra.rules.rule import Level, rule, stack_rule
from infra.rules.view import ResourceView, Type, as_number, links, of_type, reads_a_stream, value_at

RUNTIMES = {
    "python3.9": date(2025, 12, 15),
    "python3.10": date(2026, 10, 31),
    "python3.11": date(2027, 6, 30),
    "python3.12": date(2028, 10, 31),
    "python3.13": date(2029, 6, 30),
    "python3.14": date(2029, 6, 30),
}
"""The day on which Lambda deprecates a runtime (docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html)."""

NOTICE = timedelta(days=180)
"""Time before its deprecation in which the rule advises against a runtime: half a year, to plan the upgrade."""


@rule(Level.ADVICE, Type.FUNCTION)
def runtime_near_its_end(function: ResourceView, today: date | None = None) -> Iterator[str]:
    """Lambda supports the runtime of a function for the next half year."""
    runtime = function.inputs.get("runtime")
    end = RUNTIMES.get(runtime) if isinstance(runtime, str) else None
    today = today or datetime.now(UTC).date()
    if end and today > end - NOTICE and not function.sandbox_only:
        yield (
            f"runtime {runtime}: Lambda deprecates it on {end}, and refuses updates of its functions some weeks later; "
            f"use {list(RUNTIMES)[-1]}"
        )


ON, OFF = ("1", "y", "yes", "t", "true", "on"), ("0", "n", "no", "f", "false", "off")
"""The texts that Powertools reads as true and as false (aws_lambda_powertools.shared.functions.strtobool, 3.37)."""

SWITCHES = {
    *("POWERTOOLS_IDEMPOTENCY_DISABLED", "POWERTOOLS_TRACE_DISABLED", "POWERTOOLS_TRACE_MIDDLEWARES"),
    *("POWERTOOLS_TRACER_CAPTURE_RESPONSE", "POWERTOOLS_TRACER_CAPTURE_ERROR", "POWERTOOLS_LOGGER_LOG_EVENT"),
    *("POWERTOOLS_LOG_DEDUPLICATION_DISABLED", "POWERTOOLS_METRICS_DISABLED", "POWERTOOLS_DEV", "POWERTOOLS_DEBUG"),
}


@rule(Level.REFUSED, Type.FUNCTION)
def powertools_switches(function: ResourceView) -> Iterator[str]:
    """Powertools' switches have valid values, and its idempotency, which claims need, is on."""
    for name in sorted(SWITCHES):
        value = value_at(function.inputs, "environment", "variables", name)
        if not isinstance(value, str):
            continue
        if value.lower() not in (*ON, *OFF):
            yield f"{name}={value}: Powertools raises an error at this value; use true or false"
        elif name == "POWERTOOLS_IDEMPOTENCY_DISABLED" and value.lower() in ON:
            yield f"{name}={value}: claimed effects would be repeated; remove the variable"


@stack_rule(Level.REFUSED)
def no_concurrency(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function that reads a stream has concurrency."""
    for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION):
        if reads_a_stream(mapping) and function.inputs.get("reservedConcurrentExecutions") == 0:
            yield (
                function,
                f"{function.name}: reservedConcurrentExecutions 0: Lambda throttles every invocation until the stream "
                "deletes its records; to pause, disable the mapping, which keeps its position for 24 h",
            )


@stack_rule(Level.ADVICE)
def batch_over_time(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A function can process a full batch of small changes within its timeout."""
    consumers = {consumer.urn for consumer in of_type(resources, Type.CONSUMER)}
    for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION):
        workers = value_at(function.inputs, "environment", "variables", "WORKERS")
        batch = as_number(mapping.inputs.get("batchSize"), 0)
        timeout = as_number(function.inputs.get("timeout", 3), 900)
        memory = as_number(function.inputs.get("memorySize", 128), 10_240)
        if mapping.parent in consumers and isinstance(workers, str) and workers.isdecimal():
            needed = sizes.batch_seconds(batch, memory, int(workers))
            if needed > timeout:
                yield (
                    mapping,
                    f"{mapping.name}: batchSize {batch}: with memorySize {memory} a batch of changes that write takes "
                    f"about {needed:.0f} s, and timeout is {timeout}, so most of it is delivered again; lower "
                    "batchSize, or raise memorySize or timeout",
                )


@stack_rule(Level.ADVICE)
def message_comes_back_early(resources: Sequence[ResourceView]) -> Iterator[tuple[ResourceView, str]]:
    """A queue's visibility timeout is at least six times its function's timeout."""
    functions = {
        mapping.urn: function for mapping, function in links(resources, Type.MAPPING, "functionName", Type.FUNCTION)
    }
    for mapping, queue in links(resources, Type.MAPPING, "eventSourceArn", Type.QUEUE):
        if function := functions.get(mapping.urn):
            hidden = as_number(queue.inputs.get("visibilityTimeoutSeconds", 30), 43_200)  # SQS's maximum
            timeout = as_number(function.inputs.get("timeout", 3), 0)
            if hidden < 6 * timeout:
                yield (
                    queue,
                    f"{queue.name}: visibilityTimeoutSeconds {hidden}: SQS delivers a message again while "
                    f"{function.name} may still process it ({timeout} s); set {6 * timeout}, six times the timeout "
                    "(AWS's recommendation)",
                )
