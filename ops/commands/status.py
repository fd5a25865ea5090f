"""The command status."""

from ops.cli import (
    COULD_NOT_RUN,
    DONE,
    LEFT_TO_DO,
    AnyConsumerArgument,
    JsonOption,
    OutputsOption,
    Session,
    StackOption,
    command,
)


@command
def status(
    consumer: AnyConsumerArgument = None,
    *,
    stack: StackOption = None,
    outputs: OutputsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show how each consumer is, what is wrong, and what helps.

    Exit code 0: all is well; 1: something is left to do; 2: something could not be read, and nothing else is wrong.
    """
    from ops.status.findings import Level, judge
    from ops.status.reading.reader import Reader
    from ops.status.screen import as_json as json_of
    from ops.status.screen import lines

    session = Session.open(stack, outputs, as_json=as_json)
    if consumer is not None:
        session.stack.consumer(consumer)
    with session.console.status("reading"):
        facts = Reader(session.stack, session.stack.client, consumer).read()
    findings = judge(facts)
    for text, style in lines(facts, findings, session.options):
        session.console.print(text, style=style or None)
    session.print_json(json_of(facts, findings))
    if any(finding.level < Level.NOTE for finding in findings):
        return LEFT_TO_DO
    return COULD_NOT_RUN if facts.unread else DONE
