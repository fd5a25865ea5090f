"""What status says about event source mappings, in the words that the operator reads."""

from dataclasses import replace

import pytest

from ops.status.facts import MISSING, DestinationFacts, Listing, TableFacts
from ops.status.findings import Level
from tests.ops.status.facts import (
    BUCKET_ARN,
    CONSUMER,
    HOUR,
    MAPPING,
    MINUTE,
    NOW,
    STREAM,
    TABLE,
    changed,
    findings,
    hours,
    minutes,
    only,
    with_mapping,
)

QUIET = {"orders-1": TableFacts("orders-1")}
STOPPED = {"PolledEventCount": hours(300, until=3)}
RESUME, REDEPLOY = "python -m ops resume mirror", "pulumi up --refresh"


def stopped(hours_ago: float, **changes: object):
    """Return the consumer, whose mapping has read nothing since then."""
    mapping = {"history": {"PolledEventCount": hours(300, until=hours_ago)}, "recent": {}, **changes}
    return replace(with_mapping(**mapping), recent={}, history={"IteratorAge": hours(400, until=hours_ago)})


def test_a_healthy_mapping_has_no_finding():
    assert findings() == []


def test_a_disabled_mapping_says_when_its_unread_changes_expire():
    found = findings(stopped(3, state="Disabled", modified_at=NOW - 3 * HOUR))
    assert only(found) == (
        "mapping-disabled",
        "The mapping of orders is disabled since 19:40 UTC (3 h ago).",
        "No change of orders is processed. The oldest unread changes expire in 21 h, at 27 Nov 19:40 UTC.",
        "nothing-read",
        RESUME,
    )


def test_a_mapping_that_lambda_disabled_says_why():
    found = findings(stopped(3, state="Disabled", reason="Function not found", modified_at=NOW - 3 * HOUR))
    assert only(found)[1] == "The mapping of orders is disabled since 19:40 UTC (3 h ago). (Function not found)"


def test_nothing_is_unread_if_the_table_was_not_written():
    consumer = stopped(3, state="Disabled", modified_at=NOW - 3 * HOUR)
    written_before = {"ConsumedWriteCapacityUnits": hours(300, until=3)}
    found = findings(consumer, tables={"orders-1": TableFacts("orders-1", {}, written_before)})
    assert only(found)[2] == "No change of orders is processed. CloudWatch shows no write to it since."


def test_without_metrics_the_stream_tells_what_is_unread():
    """In the sandbox, and in a new account, CloudWatch has nothing yet."""
    mapping = replace(
        MAPPING, state="Disabled", modified_at=NOW - 20 * MINUTE, oldest_record_at=NOW - HOUR, recent={}, history={}
    )
    consumer = replace(CONSUMER, mappings=(mapping,), recent={}, history={})
    expiry = "expire in 23 h 40 min, at 27 Nov 22:20 UTC."
    assert only(findings(consumer, tables=QUIET))[2].endswith(f"The oldest unread changes {expiry}")
    empty = replace(consumer, mappings=(replace(mapping, oldest_record_at=None),))
    assert only(findings(empty, tables=QUIET))[2].endswith("CloudWatch shows no write to it since.")


@pytest.mark.parametrize(("minutes_ago", "level"), [(2, Level.NOTE), (25, Level.SOON)])
def test_a_mapping_that_changes_its_state_is_a_note_until_it_takes_too_long(minutes_ago: int, level: Level):
    [finding] = findings(with_mapping(state="Enabling", modified_at=NOW - minutes_ago * MINUTE))
    assert (finding.kind, finding.level) == ("mapping-changing", level)
    assert finding.state.startswith("The mapping of orders is Enabling since 22:")


def test_a_deleted_mapping():
    assert only(findings(replace(CONSUMER, mappings=(), missing_mappings=("orders",)))) == (
        "mapping-missing",
        "The mapping of orders does not exist any more.",
        "No change of orders is processed. A new mapping starts as its startingPosition says.",
        "nothing-read",
        REDEPLOY,
    )


def test_a_mapping_on_an_old_stream():
    found = findings(with_mapping(latest_stream_arn=STREAM.replace("2026-01-01T00:00", "2026-11-26T21:05")))
    assert only(found) == (
        "old-stream",
        "The mapping of orders reads an old stream, of 2026-01-01 00:00.",
        "The table writes to the stream of 2026-11-26 21:05, which keeps a change for 24 h.",
        "nothing-read",
        REDEPLOY,
    )


def test_a_table_without_a_stream():
    assert only(findings(with_mapping(latest_stream_arn=MISSING)))[:2] == (
        "no-stream",
        "The table orders-1 has no stream, or does not exist any more.",
    )


def test_a_batch_that_fails():
    assert only(findings(with_mapping(last_result="PROBLEM: Function call failed"))) == (
        "batch-fails",
        "Lambda's last batch of orders failed: PROBLEM: Function call failed",
        "Lambda delivers the batch again; the shard's later changes wait behind it.",
        "broken",
        "python -m ops tail mirror",
    )


def test_writes_that_nothing_reads():
    consumer = with_mapping(recent={"PolledEventCount": minutes(60, until=25)}, history=STOPPED)
    assert only(findings(consumer)) == (
        "not-polled",
        "orders is written, but its mapping has read nothing since 19:40 UTC (3 h ago).",
        "Lambda does not read the stream, although the mapping is enabled: its role may lack a permission.",
        "nothing-read",
        REDEPLOY,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"recent": {"PolledEventCount": minutes(60, until=5)}},  # CloudWatch is late
        {"counts_events": False, "recent": {}, "history": {}},  # the mapping sends no such metric
        {"recent": {}, "history": STOPPED, "modified_at": NOW - 10 * MINUTE},  # it has just been enabled
    ],
)
def test_a_mapping_that_may_read_is_not_accused(changes: dict[str, object]):
    assert findings(with_mapping(**changes)) == []


def test_a_table_that_is_not_written_needs_no_reader():
    consumer = with_mapping(recent={}, history={"PolledEventCount": hours(300, until=3)})
    written_before = TableFacts("orders-1", {}, {"ConsumedWriteCapacityUnits": hours(300, until=3)})
    assert findings(consumer, tables={"orders-1": written_before}) == []


def test_a_table_of_another_account_is_judged_without_its_metrics():
    consumer = with_mapping(account="444455556666", latest_stream_arn=None)
    assert findings(consumer, tables={}) == []


def test_changes_that_retention_took():
    [lost, disabled] = findings(stopped(30, state="Disabled", modified_at=NOW - 30 * HOUR))
    assert (lost.kind, disabled.kind) == ("retention-passed", "mapping-disabled")
    assert lost.state == "Changes of orders from 25 Nov 16:40 to 25 Nov 22:40 UTC are lost."
    assert lost.section == "lost"
    assert disabled.meaning.endswith("The stream deletes unread changes already: each after 24 h.")


def test_dropped_changes():
    dropped = ((NOW - 2 * HOUR, 3.0), (NOW - HOUR, 0.0))
    found = findings(with_mapping(history=changed(MAPPING.history, DroppedEventCount=dropped)))
    assert only(found) == (
        "changes-dropped",
        "The mapping of orders lost 3 changes, the last at 20:40 UTC.",
        "It gave them up, and could not write them to the failure destination.",
        "lost",
        None,
    )


@pytest.mark.parametrize(
    ("arn", "words"),
    [
        (BUCKET_ARN, "bucket failures-1"),
        ("arn:aws:sqs:eu-west-1:111122223333:failures", "queue failures"),
        ("arn:aws:sns:eu-west-1:111122223333:failures", "topic failures"),
    ],
)
def test_a_destination_that_is_gone_or_denied(arn: str, words: str):
    missing = findings(with_mapping(destination=DestinationFacts(arn, exists=False, is_allowed=True)))
    state = f"The failure destination of orders, {words}, does not exist."
    assert only(missing) == (
        "destination-missing",
        state,
        "A batch that the mapping gives up is lost.",
        "lost",
        REDEPLOY,
    )
    denied = findings(with_mapping(destination=DestinationFacts(arn, exists=True, is_allowed=False)))
    state = f"The function's role may not write to the failure destination of orders, {words}."
    assert only(denied)[:2] == ("destination-denied", state)


def test_a_destination_that_cannot_be_judged_is_not_accused():
    assert findings(with_mapping(destination=DestinationFacts(BUCKET_ARN, exists=None, is_allowed=None))) == []


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        (Listing(1, has_more=False, oldest_at=NOW - HOUR, newest_at=NOW - HOUR), "1 batch, the last at 21:40 UTC"),
        (Listing(1000, has_more=True, oldest_at=None, newest_at=None), "more than 1,000 batches"),
    ],
)
def test_discarded_batches(listing: Listing, words: str):
    assert only(findings(with_mapping(discarded=listing))) == (
        "discarded",
        f"The mapping of orders discarded {words}.",
        "The function could not start with them. The failure bucket has them whole.",
        "discarded",
        "python -m ops failures mirror",
    )


def test_what_a_mapping_sent_to_a_queue_is_only_a_pointer():
    history = changed(MAPPING.history, OnFailureDestinationDeliveredEventCount=((NOW - HOUR, 2.0),))
    found = findings(with_mapping(discarded=None, history=history))
    assert only(found)[1:] == (
        "The mapping of orders discarded changes, the last at 21:40 UTC.",
        "The destination has pointers to them, which are of no use when the stream deletes them after 24 h.",
        "discarded",
        "python -m ops replay mirror --since 24h",
    )


def test_the_most_urgent_finding_comes_first():
    consumer = with_mapping(state="Disabled", modified_at=NOW - 60)
    parked = replace(consumer, parked=Listing(2, has_more=False, oldest_at=NOW, newest_at=NOW))
    assert [finding.level for finding in findings(parked, tables={"orders-1": TABLE})] == [Level.NOW, Level.SOON]
