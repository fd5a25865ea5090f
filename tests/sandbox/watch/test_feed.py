"""The feed passes each fact to every reader, in one order."""

from sandbox.watch import feed as module
from sandbox.watch.feed import Fact, Feed, Reader


def kinds(reader: Reader) -> list[str]:
    facts: list[Fact] = []
    while fact := reader.next(0):
        facts.append(fact)
    return [fact["kind"] for fact in facts]


def test_a_reader_gets_the_kept_facts_and_the_later_ones():
    feed = Feed()
    feed.publish("mail")
    with feed.read() as reader:
        feed.publish("batch")
        assert kinds(reader) == ["mail", "batch"]
    feed.publish("retry")
    assert kinds(reader) == []


def test_a_reader_that_comes_back_gets_what_it_missed_and_the_state():
    feed = Feed()
    for kind in ("deployed", "state", "mail", "batch"):
        last = feed.publish(kind)
    with feed.read(after=last["n"] - 1) as reader:
        assert kinds(reader) == ["deployed", "state", "batch"]
    with feed.read(after=last["n"]) as reader:
        assert kinds(reader) == ["deployed", "state"]


def test_only_the_latest_facts_are_kept():
    feed = Feed()
    feed.publish("deployed")
    for _ in range(module.KEPT + 1):
        feed.publish("batch")
    with feed.read() as reader:
        assert kinds(reader) == ["deployed", *["batch"] * module.KEPT]


def test_a_slow_reader_misses_facts_and_counts_them():
    feed = Feed()
    with feed.read() as reader:
        for _ in range(module.PENDING + 3):
            feed.publish("batch")
        assert reader.missed == 3
        assert len(kinds(reader)) == module.PENDING
