"""Derives the sizes, units, age and cost of a consumer from its rate; a test compares them with the simulation."""

from dataclasses import dataclass, field, replace
from math import ceil, exp, inf

from bench.prices import PRICES, READ_UNIT, REQUEST_PRICE, SECONDS_OF_MONTH
from handler.stream.engine.invocation import RESERVE_SECONDS
from handler.stream.environment import Environment
from handler.stream.held_items.holding import MAX_WAITING_CHANGES
from handler.stream.held_items.retry import ITEMS_PER_RUN, MAX_HELPERS, NEW_TURNS_SECONDS
from handler.stream.ledger import HOLDS_PER_PAGE
from handler.stream.ledger.rows import RELEASED_ROW_SECONDS
from handler.stream.ledger.writes import MAX_BATCH_WRITES
from infra.engine import RECORD_AGE_SECONDS
from infra.rules.sizes import CALL_SECONDS, VCPU_MEMORY, WRITE_SECONDS, changes_a_second
from infra.settings import Tuning
from sandbox.mapping.machine import PAYLOAD_BYTES

PARTITION_WRITES, PARTITION_READS = 1_000, 3_000
"""Units a second of one partition (DynamoDB's guide, warm-throughput-scenarios)."""
FIRST_PARTITIONS = 4
"""Partitions of a new on-demand table: it takes 4,000 writes a second at once (the same page), 1,000 a partition."""
TABLE_UNITS = 40_000
"""Read units, and write units, a second of one on-demand table (DynamoDB's guide, ServiceQuotas); can be raised."""
CONCURRENCY = 1_000
"""Concurrent executions of an account in one Region (Lambda's guide, gettingstarted-limits); can be raised."""
SCALING, SCALING_SECONDS = 1_000, 10
"""New execution environments of one function in these seconds (Lambda's guide, scaling-behavior)."""
BUCKET_PUTS = 3_500
"""PUT requests a second of one prefix (S3's guide, optimizing-performance)."""
POLL_SECONDS = 0.25
"""A mapping polls four times a second (DynamoDB's guide, Streams.Lambda)."""
LEDGER_CALLS = 2
"""Reads of the ledger in a batch without failures, one after the other, and their read units: note and holds."""
FAILURE_WRITE_UNITS = 8
"""Write units of a change that fails in place and succeeds in its first retry run (tests/bench/test_cost.py)."""
HOLD_ROW_BYTES = 300
"""Most bytes of a hold row, with some room (tests/bench/test_capacity.py)."""
HOLD_WRITES = 4
"""Writes to the partition of the holds for such a change: hold, lease, release, and an hour later the removal."""
HELD_SECONDS = 90
"""Average time of such a change until its first retry run: it is due after 60 s, and runs come every 60 s."""
FAILING_SHARE = 0.001
"""The share of changes that fail in the table of failures, as in bench.questions.cost."""
CLAIM_WRITES = 2
"""Write units of a claim: it is written before the effect, and marked after it."""
MAX_FACTOR = 10
"""Most concurrent batches of a shard (Lambda's guide, services-ddb-params)."""
MAX_READERS = 2
"""Most readers of a stream that DynamoDB serves well (DynamoDB's guide, Streams.Lambda)."""
BEGIN_SECONDS = Tuning().timeout - RESERVE_SECONDS - Tuning().handler_timeout
"""Seconds of an invocation with the default sizes in which another change, or turn, may begin."""
PLANNED_LOAD = 0.7
"""Share of a ceiling that a plan uses: a backlog of an hour is then worked off in 2 h 20 min."""

RATES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
BATCH_SIZES = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
WINDOWS = (0, 1, 2, 5, 10, 30, 60, 120, 300)
MEMORIES = (512, VCPU_MEMORY)


@dataclass(frozen=True)
class Handler:
    """A handler: the seconds that a change takes in one worker, and the CPU seconds on a whole vCPU within them."""

    name: str
    seconds: float
    cpu_seconds: float


HANDLERS = (
    Handler("5 ms, one write to DynamoDB", CALL_SECONDS, WRITE_SECONDS),
    Handler("50 ms, one call of another service", 0.05, WRITE_SECONDS),
)
"""The handlers of bench.questions.drain. A call of another service takes as much CPU time as a write: an assumption."""


@dataclass(frozen=True)
class Consumer:
    """A consumer of one table in its steady state: `rate` changes a second, spread evenly over the shards."""

    rate: float
    handler: Handler
    shards: int
    tuning: Tuning = field(default_factory=Tuning)

    @property
    def queues(self) -> int:
        """The batches that may run at the same time."""
        return self.shards * self.tuning.parallelization_factor

    @property
    def queue_rate(self) -> float:
        """Changes a second of one queue."""
        return self.rate / self.queues

    def batch_seconds(self, changes: float) -> float:
        """Return the seconds of an invocation with so many changes of different items.

        They are the ledger's calls, and the larger of two bounds: the rounds of the workers, and the CPU time. A last
        round is not full, so that the expected rounds are half a round more.
        """
        workers = self.tuning.workers
        rounds = max(1.0, changes / workers + (workers - 1) / (2 * workers))
        cpu_seconds = changes / changes_a_second(self.tuning.memory_size, self.handler.cpu_seconds or 1e-9)
        return LEDGER_CALLS * CALL_SECONDS + max(rounds * self.handler.seconds, cpu_seconds)

    @property
    def queue_capacity(self) -> float:
        """Most changes a second of one queue: full batches, one after the other."""
        return self.tuning.batch_size / self.batch_seconds(self.tuning.batch_size)

    @property
    def capacity(self) -> float:
        """Most changes a second of the consumer."""
        return self.queue_capacity * self.queues

    @property
    def idle_period(self) -> float:
        """Seconds from one batch of a queue to the next if batches take no time: the window, and polls without records.

        Changes come at random, so that a poll finds none with the probability of a Poisson process.
        """
        empty = exp(-self.queue_rate * POLL_SECONDS)
        window = self.tuning.maximum_batching_window_in_seconds
        return max(window, POLL_SECONDS) + POLL_SECONDS * empty / (1 - empty)

    @property
    def busy_seconds(self) -> float:
        """Seconds of an invocation that begins when the last one ends, with the changes of its time.

        The result is 0 if the queue is idle between two invocations. It is valid up to a load of 1.
        """
        period = self.idle_period
        while (busy := self.batch_seconds(max(1.0, min(self.tuning.batch_size, self.queue_rate * period)))) > period:
            if busy - period < 0.001:
                return busy
            period = busy
        return period if period > self.idle_period else 0.0

    @property
    def period(self) -> float:
        """Seconds from one batch of a queue to the next; a full batch does not wait."""
        return min(max(self.idle_period, self.busy_seconds), self.tuning.batch_size / self.queue_rate)

    @property
    def load(self) -> float:
        """The share of the capacity that is used."""
        return self.rate / self.capacity

    @property
    def changes(self) -> float:
        """Changes of an average batch."""
        return max(1.0, self.queue_rate * self.period)

    @property
    def batches(self) -> float:
        """Invocations a second."""
        return self.rate / self.changes

    @property
    def concurrency(self) -> float:
        """Average number of concurrent invocations."""
        return self.batches * self.batch_seconds(self.changes)

    @property
    def read_units(self) -> float:
        """The ledger's read units a second; half of them are on the one partition of the consumer's holds."""
        return self.batches * LEDGER_CALLS

    @property
    def hold_rows(self) -> float:
        """Rows of held and released items, if FAILING_SHARE of the changes fail once, each of another item."""
        return self.rate * FAILING_SHARE * (HELD_SECONDS + RELEASED_ROW_SECONDS)

    @property
    def hold_reads(self) -> float:
        """Read units a second on the partition of the holds, with these rows."""
        return self.batches * hold_reads(self.hold_rows, self.changes)

    @property
    def oldest_seconds(self) -> float:
        """Most seconds for which a record waits for its batch: for a poll, then for the window or the last batch."""
        window = max(self.tuning.maximum_batching_window_in_seconds, self.busy_seconds)
        return POLL_SECONDS + min(window, self.tuning.batch_size / self.queue_rate)

    @property
    def latest_seconds(self) -> float:
        """Most seconds from a change to the end of its batch."""
        return self.oldest_seconds + self.batch_seconds(self.changes)

    def dollars(self) -> dict[str, float]:
        """Return the US dollars of a month of 30 days, by what is charged."""
        gigabytes = self.tuning.memory_size / 1024
        per_second = {
            "requests": self.batches * REQUEST_PRICE,
            "GB-seconds": self.concurrency * gigabytes * PRICES["retry GB-seconds"],
            "ledger": self.read_units * PRICES["read units"],
        }
        return {name: dollars * SECONDS_OF_MONTH for name, dollars in per_second.items()}

    def seconds_until_loss(self) -> float:
        """Return the seconds of this rate after which the mapping discards records; infinite up to the capacity."""
        return RECORD_AGE_SECONDS / (1 - 1 / self.load) if self.load > 1 else inf

    def catch_up_seconds(self, behind_seconds: float) -> float:
        """Return the seconds until the changes of so many seconds are worked off, while new ones come.

        The result is infinite above the capacity.
        """
        return behind_seconds / (1 / self.load - 1) if self.load < 1 else inf


def least_shards(rate: float) -> int:
    """Return the least shards of a table with so many writes a second of at most 1 KB.

    A shard carries the changes of one partition: users observe this, and AWS does not promise it.
    """
    return max(FIRST_PARTITIONS, ceil(rate / PARTITION_WRITES))


def plan(rate: float, handler: Handler) -> Consumer:
    """Return a consumer with the smallest sizes that keep to PLANNED_LOAD.

    Raises
    ------
    ValueError
        Ten concurrent batches a shard on a whole vCPU are not enough, or no window makes batches large enough.
    """
    consumer = _with_capacity(Consumer(rate, handler, least_shards(rate)))
    for window in WINDOWS:
        batch = next((size for size in BATCH_SIZES if size >= consumer.queue_rate * window), BATCH_SIZES[-1])
        sizes = {"maximum_batching_window_in_seconds": window, "batch_size": batch}
        sized = replace(consumer, tuning=consumer.tuning.model_copy(update=sizes))
        if sized.batches <= PLANNED_LOAD * PARTITION_READS and sized.batch_seconds(batch) <= BEGIN_SECONDS:
            return sized
    raise ValueError(f"{rate:,.0f} changes a second are too many batches for the holds of one consumer")


def _with_capacity(consumer: Consumer) -> Consumer:
    for memory in MEMORIES:
        for factor in range(1, MAX_FACTOR + 1):
            sized = replace(consumer, tuning=Tuning(memory_size=memory, parallelization_factor=factor))
            if sized.load <= PLANNED_LOAD:
                return sized
    seconds = consumer.handler.seconds
    raise ValueError(
        f"a handler of {seconds:g} s is too slow for {consumer.rate / consumer.shards:,.0f} changes a shard"
    )


# Ceilings


def hold_reads(rows: float, items: float) -> float:
    """Return the units that a batch of so many items reads of its consumer's holds, which have so many rows.

    A batch reads one page. If the page is full, it also reads the row of each of its items, which may not exist.
    """
    page = max(1, ceil(min(rows, HOLDS_PER_PAGE) * HOLD_ROW_BYTES / READ_UNIT))
    return page + (items if rows >= HOLDS_PER_PAGE else 0)


def turn_seconds(changes: int, handler_seconds: float) -> float:
    """Return the seconds of a held item's turn: lease, read, the changes, release, and the removal of their rows."""
    return (3 + ceil(changes / MAX_BATCH_WRITES)) * CALL_SECONDS + changes * handler_seconds


def items_a_minute(changes: int, handler_seconds: float, runs: int = 1 + MAX_HELPERS) -> int:
    """Return how many held items, with so many changes each, a minute's retry runs release at most."""
    sizes = Environment()
    begin_seconds = min(NEW_TURNS_SECONDS, BEGIN_SECONDS)
    by_workers = runs * sizes.workers * ceil(begin_seconds / turn_seconds(changes, handler_seconds))
    by_partition = int(begin_seconds * PARTITION_WRITES / 2)  # a lease and a release write the item's row
    return min(by_workers, by_partition)


def ceilings() -> dict[str, tuple[float, str]]:
    """Return the figure of each ceiling in docs/capacity.md, with its unit."""
    write = HANDLERS[0]
    one_vcpu = Consumer(1.0, write, 1, Tuning(memory_size=VCPU_MEMORY))
    batch, per_change = one_vcpu.tuning.batch_size, 1 / one_vcpu.queue_capacity
    figures: dict[str, tuple[float, str]] = {
        "one item": (1 / write.seconds, "changes/s"),
        "a shard": (PARTITION_WRITES, "changes/s"),
        "a new table": (FIRST_PARTITIONS * PARTITION_WRITES, "changes/s"),
        "a table": (TABLE_UNITS, "changes/s"),
        "a concurrent batch": (one_vcpu.queue_capacity, "changes/s"),
        "a shard's concurrent batches": (MAX_FACTOR * Consumer(1.0, write, 1).queue_capacity, "changes/s"),
        "a batch": (PAYLOAD_BYTES // 2048, "records"),
        "readers of a stream": (MAX_READERS, "consumers"),
        "the holds, few rows": (PARTITION_READS * batch / hold_reads(0, batch), "changes/s"),
        "the holds, a page of rows": (PARTITION_READS * batch / hold_reads(HOLDS_PER_PAGE - 1, batch), "changes/s"),
        "the holds, more rows": (PARTITION_READS * batch / hold_reads(HOLDS_PER_PAGE, batch), "changes/s"),
        "the holds' writes in an outage": (PARTITION_WRITES, "items/s"),
        "the holds' writes, day by day": (PARTITION_WRITES / HOLD_WRITES, "items/s"),
        "claims": (TABLE_UNITS / CLAIM_WRITES, "changes/s"),
        "concurrency of the account": (CONCURRENCY / per_change, "changes/s"),
        "scaling of the function": (SCALING / per_change / SCALING_SECONDS, "changes/s more, each second"),
        "helpers": (ITEMS_PER_RUN * (1 + MAX_HELPERS), "due items"),
        "retry runs": (items_a_minute(1, write.seconds), "items/min"),
        "retry runs, slow handlers": (items_a_minute(1, Tuning().handler_timeout), "items/min"),
        "waiting changes of an item": (MAX_WAITING_CHANGES, "changes"),
        "parked changes": (BUCKET_PUTS, "changes/s"),
        "the age of a record": (RECORD_AGE_SECONDS, "s"),
    }
    return figures
