"""The commands pause and resume over a fake AWS, whose mappings take a while to change their state."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ops import OpsError
from ops.commands.pause import run_pause, run_resume
from ops.pause import Switches
from tests.fakes.aws import Clock, refusal
from tests.handler.harness import ConsumerHarness
from tests.ops.engine import CONSUMER, OpsHarness

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SCHEDULE: dict[str, Any] = {
    "Name": "mirror-retry",
    "GroupName": "default",
    "ScheduleExpression": "rate(1 minute)",
    "Description": "retries",
    "Target": {"Arn": "f", "RoleArn": "r", "Input": "{}", "RetryPolicy": {"MaximumRetryAttempts": 0}},
    "FlexibleTimeWindow": {"Mode": "OFF"},
}
READ_ONLY: dict[str, Any] = {"Arn": "a", "CreationDate": 1, "LastModificationDate": 2, "ResponseMetadata": {}}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2027-01-{text}:00+00:00")


class FakeAws:
    """Lambda's mappings, EventBridge Scheduler and CloudWatch, for one consumer of two tables.

    A mapping reaches the wanted state with the third look. A call in `refused` fails. CloudWatch has one data point of
    IteratorAge. Not imitated: alarms' states, and whether AWS accepts the values of a mute rule.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.states = {"uuid-1": ["Enabled"], "uuid-2": ["Enabled"]}
        self.modified = datetime.fromtimestamp(NOW - 7200, UTC)
        self.schedule: dict[str, Any] | None = {**SCHEDULE, **READ_ONLY, "State": "ENABLED"}
        self.rule: dict[str, Any] | None = None
        self.age: tuple[float, float] | None = None
        self.refused: dict[str, Exception] = {}
        self.calls: list[str] = []

    def __call__(self, service: str) -> Any:
        return self

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.refused:
            raise self.refused[name]

    def get_event_source_mapping(self, UUID: str) -> Any:  # noqa: N803 -- as boto3 has it
        if UUID not in self.states:
            raise refusal("ResourceNotFoundException")
        states = self.states[UUID]
        state = states.pop(0) if len(states) > 1 else states[0]
        return {"State": state, "LastModified": self.modified}

    def update_event_source_mapping(self, UUID: str, Enabled: bool) -> None:  # noqa: N803
        self._call(f"{'enable' if Enabled else 'disable'} {UUID}")
        between, end = ("Enabling", "Enabled") if Enabled else ("Disabling", "Disabled")
        self.states[UUID] = [between, between, end]

    def get_schedule(self, Name: str) -> Any:  # noqa: N803
        if self.schedule is None:
            raise refusal("ResourceNotFoundException")
        return self.schedule

    def update_schedule(self, **request: Any) -> None:
        self._call(f"schedule {request['State']}")
        assert {name: value for name, value in request.items() if name != "State"} == SCHEDULE, "every field is kept"
        self.schedule = {**SCHEDULE, **READ_ONLY, "State": request["State"]}

    def get_metric_data(self, MetricDataQueries: Any, StartTime: datetime, EndTime: datetime, ScanBy: str) -> Any:  # noqa: N803
        metric = MetricDataQueries[0]["MetricStat"]["Metric"]
        assert (metric["MetricName"], metric["Dimensions"][0]["Value"]) == ("IteratorAge", "mirror-1")
        shown = self.age and StartTime <= datetime.fromtimestamp(self.age[0], UTC) < EndTime
        return {"MetricDataResults": [{"Values": [self.age[1]] if self.age and shown else []}]}

    def get_alarm_mute_rule(self, AlarmMuteRuleName: str) -> Any:  # noqa: N803
        assert AlarmMuteRuleName == "mirror-1-paused"
        if self.rule is None:
            raise refusal("ResourceNotFoundException")
        return self.rule

    def put_alarm_mute_rule(self, **rule: Any) -> None:
        self._call("mute")
        self.rule = {**rule, "Status": "ACTIVE"}

    def delete_alarm_mute_rule(self, AlarmMuteRuleName: str) -> None:  # noqa: N803
        self._call("unmute")
        self.rule = None


class Pausing:
    """Runs the commands against the fake AWS."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock(NOW)
        self.aws = FakeAws(self.clock)
        self.ops = OpsHarness(ConsumerHarness())
        outputs = {**CONSUMER, "mappings": {"orders": "uuid-1", "users": "uuid-2"}, **more}
        self.consumer = type(self.ops.stack.consumers["mirror"]).model_validate(outputs)

    @property
    def switches(self) -> Switches:
        return Switches("mirror", self.consumer, self.aws, clock=self.clock, sleep=self.clock.advance)

    def pause(self, mute_for: str = "4h") -> tuple[int, list[str]]:
        return run_pause(self.ops.session, self.switches, mute_for), self.ops.shown()

    def resume(self) -> tuple[int, list[str]]:
        return run_resume(self.ops.session, self.switches), self.ops.shown()

    def mute_window(self) -> tuple[str, str, datetime]:
        rule = self.aws.rule or {}
        return *rule["Rule"]["Schedule"].values(), rule["ExpireDate"]


def test_pause_mutes_first_then_switches_the_schedule_and_the_mappings_off():
    pausing = Pausing()
    assert pausing.pause() == (
        0,
        [
            "pause · mirror",
            "  mapping of orders      on → off",
            "  mapping of users       on → off",
            "  retry schedule         on → off",
            "  alarms                 2 muted until 2027-01-15T12:00Z (--for)",
            "Changes are lost after 2027-01-16T08:00Z, in 1 d: resume before.",
            "pulumi up leaves it off; pulumi up --refresh switches it on, unless its tuning",
            "has enabled: false.",
            "✔ mute the alarms",
            "✔ switch the schedule off",
            "✔ switch the mappings off",
            "mirror is paused",
            "  python -m ops resume mirror",
        ],
    )
    assert pausing.aws.calls[:2] == ["mute", "schedule DISABLED"]
    assert sorted(pausing.aws.calls[2:]) == ["disable uuid-1", "disable uuid-2"]
    assert pausing.switches.state().is_off()


def test_the_mute_rule_begins_with_the_next_minute_and_has_an_end():
    pausing = Pausing()
    pausing.clock.advance(10)
    pausing.pause("90m")
    assert pausing.mute_window() == ("at(2027-01-15T08:01)", "PT90M", at("15T09:31"))
    rule = pausing.aws.rule or {}
    assert rule["MuteTargets"] == {"AlarmNames": ["mirror-late", "mirror-page"]}


def test_a_second_pause_completes_the_first_and_extends_the_mute_rule_from_its_beginning():
    pausing = Pausing()
    pausing.aws.refused["disable uuid-2"] = refusal("TooManyRequestsException")
    with pytest.raises(Exception, match="TooManyRequestsException"):
        pausing.pause()
    lines = pausing.ops.shown()
    assert lines[-2:] == [
        "✖ switch the mappings off: not finished",
        "Run the command again: it completes what is left.",
    ]
    pausing.aws.refused.clear()
    pausing.clock.now = NOW + 3600
    pausing.aws.calls.clear()
    assert pausing.pause()[0] == 0
    assert set(pausing.aws.calls) <= {"mute", "disable uuid-1", "disable uuid-2"}
    assert pausing.mute_window() == ("at(2027-01-15T08:01)", "PT299M", at("15T13:00"))
    assert pausing.switches.state().is_off()


def test_pause_says_how_much_retention_is_left_for_a_consumer_that_is_behind():
    pausing = Pausing()
    pausing.aws.age = (NOW - 120, 20 * 3600 * 1000)
    lines = pausing.pause("5h")[1]
    assert "Its oldest unprocessed change is up to 20 h old." in lines
    assert "Changes are lost after 2027-01-15T12:00Z, in 4 h: resume before." in lines
    assert "The alarms are muted beyond that time, so none tells you." in lines


def test_an_old_data_point_says_nothing():
    pausing = Pausing()
    pausing.aws.age = (NOW - 5000, 20 * 3600 * 1000)
    assert "Changes are lost after 2027-01-16T08:00Z, in 1 d: resume before." in pausing.pause()[1]


def test_resume_switches_on_and_lets_the_alarms_settle():
    pausing = Pausing()
    pausing.pause()
    pausing.aws.modified = datetime.fromtimestamp(NOW, UTC)
    pausing.aws.calls.clear()
    pausing.clock.now = NOW + 7200
    assert pausing.resume() == (
        0,
        [
            "resume · mirror",
            "  mapping of orders      off → on",
            "  mapping of users       off → on",
            "  retry schedule         off → on",
            "It is up to 2 h behind, and catches up in order.",
            "✔ switch the mappings on",
            "✔ switch the schedule on",
            "✔ let the alarms settle",
            "mirror runs",
            "  its alarms stay muted until 2027-01-15T11:04Z, so that they settle",
            "  python -m ops status",
        ],
    )
    assert sorted(pausing.aws.calls[:2]) == ["enable uuid-1", "enable uuid-2"]
    assert pausing.aws.calls[2:] == ["schedule ENABLED", "mute"]
    assert pausing.mute_window()[0] == "at(2027-01-15T08:01)", "an interruption would set the alarms off"
    assert pausing.switches.state().is_on()


def test_resume_says_what_is_lost():
    pausing = Pausing()
    pausing.pause()
    pausing.aws.modified = datetime.fromtimestamp(NOW, UTC)
    pausing.aws.age = (NOW - 60, 3_600_000)
    pausing.clock.now = NOW + 30 * 3600
    text = " ".join(pausing.resume()[1])
    assert (
        "Its oldest unprocessed change may be 1 d 7 h old: unprocessed changes from before 2027-01-15T14:00Z are lost."
        in text
    )


def test_a_mute_rule_that_has_ended_is_deleted():
    pausing = Pausing()
    pausing.pause()
    pausing.aws.rule = {**(pausing.aws.rule or {}), "Status": "EXPIRED"}
    pausing.clock.now = NOW + 5 * 3600
    code, lines = pausing.resume()
    assert (code, pausing.aws.rule) == (0, None)
    assert not any("stay muted" in line for line in lines)


def test_pausing_what_is_paused_and_resuming_what_runs_changes_no_switch():
    pausing = Pausing()
    pausing.pause()
    pausing.aws.calls.clear()
    assert "  mapping of orders      off" in pausing.pause()[1]
    assert pausing.aws.calls == ["mute"]
    pausing = Pausing()
    assert "  mapping of orders      on" in pausing.resume()[1]
    assert pausing.aws.calls == ["unmute"], "a rule that nobody needs is deleted; there may be none"


def test_a_mapping_that_is_changing_is_waited_for_before_it_is_switched():
    pausing = Pausing()
    pausing.aws.states["uuid-1"] = ["Updating", "Updating", "Enabled"]
    assert pausing.pause()[0] == 0
    assert pausing.switches.state().is_off()


def test_a_mapping_that_does_not_change_is_named():
    pausing = Pausing()
    pausing.aws.states["uuid-1"] = ["Updating"]
    with pytest.raises(OpsError, match=r"not changed within 5 minutes \(orders is Updating\): run the command again"):
        pausing.pause()


def test_a_mapping_that_is_gone_is_named_and_nothing_is_changed():
    pausing = Pausing()
    del pausing.aws.states["uuid-2"]
    with pytest.raises(OpsError, match="the mapping of users, uuid-2, is gone: pulumi up --refresh makes it again"):
        pausing.pause()
    assert pausing.aws.calls == []


def test_a_consumer_without_a_schedule_or_alarms_is_paused_too():
    pausing = Pausing(schedule=None, alarms=[])
    code, lines = pausing.pause()
    assert (code, "  alarms                 none" in lines) == (0, True)
    assert sorted(pausing.aws.calls) == ["disable uuid-1", "disable uuid-2"]
    assert pausing.resume()[0] == 0
    pausing = Pausing()
    pausing.aws.schedule = None
    assert pausing.pause()[0] == 0


@pytest.mark.parametrize("text", ["0m", "16d", "soon"])
def test_a_time_that_cloudwatch_refuses_is_refused_before_anything_is_read(text: str):
    pausing = Pausing()
    with pytest.raises(OpsError, match=r"CloudWatch mutes alarms for 1 minute to 15 days|is not a duration"):
        pausing.pause(text)
    assert pausing.aws.calls == []


def test_ctrl_c_while_the_mappings_change_says_what_is_left():
    pausing = Pausing()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    switches = Switches("mirror", pausing.consumer, pausing.aws, clock=pausing.clock, sleep=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_pause(pausing.ops.session, switches, "4h")
    assert pausing.ops.shown()[-2] == "✖ switch the mappings off: not finished"
