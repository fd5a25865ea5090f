"""Pauses and resumes a consumer by its mappings' and its schedule's switches; mutes its alarms meanwhile.

A reserved concurrency of 0 would throttle the mappings: they would go on reading, and their records would age.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import OpsError
from ops.errors import unless_gone
from ops.stack import Client, ConsumerOutputs
from ops.streams import RETENTION_SECONDS

RECENT_SECONDS = 900
"""The longest age of a datapoint of IteratorAge, in seconds: an older one says nothing about the present."""
SETTLE_MINUTES = 63
"""How long after resume the alarms stay muted: the alarm `nothing-read` looks back 21 periods of 3 minutes."""
LONGEST_MUTE = timedelta(days=15)
"""The longest duration of an AlarmMuteRule (CloudWatch)."""
MOST_MUTED = 100
"""The most alarms of one AlarmMuteRule (CloudWatch)."""
POLL_SECONDS, TIMEOUT_SECONDS = 1.0, 300.0
"""Lambda switches a mapping within a minute or two."""
ENABLED, DISABLED = "Enabled", "Disabled"
"""States of a mapping that has been switched."""
TRANSIENT = ("Creating", "Enabling", "Disabling", "Updating")
"""States in which Lambda refuses to update a mapping."""

COPIED = (
    *("Name", "GroupName", "ScheduleExpression", "StartDate", "EndDate", "Description", "ScheduleExpressionTimezone"),
    *("KmsKeyArn", "Target", "FlexibleTimeWindow", "ActionAfterCompletion"),
)
"""The fields of GetSchedule that UpdateSchedule takes: it sets a field that is left out to its default."""


@dataclass(frozen=True)
class State:
    """The switches of a consumer, and up to which time the consumer has handled the changes."""

    mappings: Mapping[str, str]
    """The states of the mappings, by the program's names of the tables."""
    schedule: bool | None
    """Whether the schedule is enabled; None if the consumer has none, or it is gone."""
    oldest: datetime
    """The consumer has handled every change that is older than this time."""

    def is_on(self) -> bool:
        """Return whether every switch is on."""
        return self.schedule is not False and all(state == ENABLED for state in self.mappings.values())

    def is_off(self) -> bool:
        """Return whether every switch is off."""
        return not self.schedule and all(state == DISABLED for state in self.mappings.values())

    @property
    def lost_at(self) -> datetime:
        """When the stream begins to lose changes that are not handled by then."""
        return self.oldest + timedelta(seconds=RETENTION_SECONDS)


class Switches:
    """The mappings, the schedule and the mute rule of one consumer.

    Every method raises the error of boto3 if AWS refuses a call. Running a method again completes it.
    """

    def __init__(
        self,
        name: str,
        consumer: ConsumerOutputs,
        client: Client,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.consumer = name, consumer
        self._client, self._clock, self._sleep = client, clock, sleep
        self.rule = f"{consumer.function}-paused"
        """The name of the mute rule."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def state(self) -> State:
        """Read the switches, and up to which time the consumer has handled the changes."""
        mappings = {table: self._mapping(table) for table in self.consumer.mappings}
        modified = [each["LastModified"] for each in mappings.values() if each["State"] in (DISABLED, "Disabling")]
        schedule = self._schedule()
        return State(
            {table: mapping["State"] for table, mapping in mappings.items()},
            schedule["State"] == "ENABLED" if schedule else None,
            self._oldest_unhandled(min(modified, default=self.now())),
        )

    def _oldest_unhandled(self, until: datetime) -> datetime:
        """Return when the oldest change was written that the consumer had not handled at a time.

        That is IteratorAge before the time. A consumer without a recent datapoint had nothing to read.
        """
        query = {
            "Id": "age",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Lambda",
                    "MetricName": "IteratorAge",
                    "Dimensions": [{"Name": "FunctionName", "Value": self.consumer.function}],
                },
                "Period": 60,
                "Stat": "Maximum",
            },
        }
        [answer] = self._client("cloudwatch").get_metric_data(
            MetricDataQueries=[query],
            StartTime=until - timedelta(seconds=RECENT_SECONDS),
            EndTime=until + timedelta(minutes=1),
            ScanBy="TimestampDescending",
        )["MetricDataResults"]
        return until - timedelta(milliseconds=answer["Values"][0] if answer["Values"] else 0)

    # The switches

    def set_schedule(self, *, enabled: bool) -> bool:
        """Switch the schedule; return whether that changed anything."""
        schedule, state = self._schedule(), "ENABLED" if enabled else "DISABLED"
        if schedule is None or schedule["State"] == state:
            return False
        fields = {name: schedule[name] for name in COPIED if name in schedule}
        self._client("scheduler").update_schedule(**fields, State=state)
        return True

    def set_mappings(self, *, enabled: bool) -> Iterator[Mapping[str, str]]:
        """Switch the mappings; yield their states, by the tables' names, until all are as wanted.

        Raises
        ------
        OpsError
            A mapping does not change its state within 5 minutes.
        """
        wanted, requested = ENABLED if enabled else DISABLED, set[str]()
        deadline = self._clock() + TIMEOUT_SECONDS
        while True:
            states = {table: self._mapping(table)["State"] for table in self.consumer.mappings}
            yield states
            pending = {table: state for table, state in states.items() if state != wanted}
            if not pending:
                return
            if self._clock() > deadline:
                texts = ", ".join(f"{table} is {state}" for table, state in pending.items())
                raise OpsError(
                    f"the mappings have not changed within {TIMEOUT_SECONDS / 60:.0f} minutes ({texts}): run the "
                    "command again; it continues where it stopped"
                )
            for table in [table for table in pending.keys() - requested if pending[table] not in TRANSIENT]:
                uuid = self.consumer.mappings[table]
                self._client("lambda").update_event_source_mapping(UUID=uuid, Enabled=enabled)
                requested.add(table)
            self._sleep(POLL_SECONDS)

    # The alarms

    def mute(self, duration: timedelta) -> datetime:
        """Mute the consumer's alarms from now on; return until when.

        A rule that is active keeps its beginning, so that a longer pause does not interrupt it. A new rule begins with
        the next minute, since a rule names minutes; no alarm of a pause fires before.
        """
        rule = self._rule()
        start = _start_of(rule) if rule and rule["Status"] != "EXPIRED" else None
        if start is None:
            start = self.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        return self._put_rule(start, self.now() + duration)

    def unmute(self) -> datetime | None:
        """Let the mute rule end when the alarms have settled; return when, None if the alarms are not muted.

        CloudWatch runs the actions of an alarm in state ALARM at once if its mute rule is deleted.
        """
        rule = self._rule()
        start = _start_of(rule) if rule else None
        end = self.now() + timedelta(minutes=SETTLE_MINUTES)
        if rule is None or start is None or rule["Status"] == "EXPIRED":
            self._client("cloudwatch").delete_alarm_mute_rule(AlarmMuteRuleName=self.rule)
            return None
        return self._put_rule(start, min(end, rule.get("ExpireDate", end)))

    def _put_rule(self, start: datetime, end: datetime) -> datetime:
        minutes = max(1, math.ceil((end - start) / timedelta(minutes=1)))
        end = start + timedelta(minutes=minutes)
        self._client("cloudwatch").put_alarm_mute_rule(
            Name=self.rule,
            Description=f"{self.name} is paused: python -m ops resume {self.name}",
            Rule={"Schedule": {"Expression": f"at({start:%Y-%m-%dT%H:%M})", "Duration": f"PT{minutes}M"}},
            MuteTargets={"AlarmNames": self.consumer.alarms[:MOST_MUTED]},
            ExpireDate=end,
        )
        return end

    # Reading

    def _mapping(self, table: str) -> dict[str, Any]:
        uuid = self.consumer.mappings[table]
        mapping = unless_gone(self._client("lambda").get_event_source_mapping, UUID=uuid)
        if mapping is None:
            raise OpsError(f"the mapping of {table}, {uuid}, is gone: pulumi up --refresh makes it again")
        return mapping

    def _schedule(self) -> dict[str, Any] | None:
        name = self.consumer.schedule
        return unless_gone(self._client("scheduler").get_schedule, Name=name) if name else None

    def _rule(self) -> dict[str, Any] | None:
        return unless_gone(self._client("cloudwatch").get_alarm_mute_rule, AlarmMuteRuleName=self.rule)


def _start_of(rule: Mapping[str, Any]) -> datetime | None:
    """Return when a rule begins; None if somebody has given it another expression."""
    expression = rule["Rule"]["Schedule"]["Expression"]
    try:
        return datetime.strptime(expression, "at(%Y-%m-%dT%H:%M)").replace(tzinfo=UTC)
    except ValueError:
        return None
