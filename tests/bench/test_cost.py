"""The calls and units behind the figures of `bench cost`. Prices and times are not tested here."""

from bench.questions.cost import run

CHANGES, BATCH = 1_000, 100


def test_a_healthy_batch_costs_two_reads_and_no_write():
    bill = run(changes=CHANGES, rate=1_000, failing=0)
    assert bill.changes == CHANGES
    assert bill.calls == {"Query": 2 * bill.batches}
    unused = dict.fromkeys(("write units", "retry runs", "retry GB-seconds", "parked"), 0)
    assert bill.used == {**unused, "read units": 2 * bill.batches}


def test_a_failing_change_costs_eight_writes_until_it_is_forgotten():
    """Its description, the change and its item's row; a lease, a release, and three deletions."""
    healthy, bill = (run(changes=20, rate=20, failing=failing, items=10**9) for failing in (0, 20))
    assert bill.calls["BatchWriteItem"] == 2
    assert bill.calls["UpdateItem"] == 3
    assert bill.calls["DeleteItem"] == 2
    assert bill.used["write units"] == 8
    reads_of_retry_runs = bill.used["retry runs"]
    reads_of_the_item = 2  # its changes, and at the end changes that a crash may have left
    assert bill.used["read units"] == 2 * bill.batches + reads_of_retry_runs + reads_of_the_item
    assert healthy.used["write units"] == 0
