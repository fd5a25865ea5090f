"""Clients of the front see the sandbox's mappings and schedules, and what the emulator lacks, as on AWS."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

from sandbox.emulator import OUTPUTS_PATH
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program, stack_config
from tests.consumers.project import SAMPLE
from tests.local import LocalAws, wait_for

NOBODY = "00000000-0000-4000-8000-000000000000"
ONCE = {"Schedule": {"Expression": "at(2026-11-26T03:00)", "Duration": "PT1H"}}


def outputs(aws: LocalAws) -> Any:
    with urllib.request.urlopen(aws.endpoint + OUTPUTS_PATH, timeout=10) as response:  # noqa: S310 -- loopback
        return json.load(response)


def send(aws: LocalAws, method: str, path: str, body: bytes, *, service: str = "", target: str = "") -> tuple[int, Any]:
    """Send a request with a body that boto3 would not send; return the status and the answer."""
    scope = f"AWS4-HMAC-SHA256 Credential=x/20261126/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Authorization": scope, "Content-Type": "application/x-amz-json-1.0"}
    request = urllib.request.Request(aws.endpoint + path, body, headers, method=method)  # noqa: S310 -- loopback
    if target:
        request.add_header("X-Amz-Target", target)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 -- loopback
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_outputs_are_those_of_the_deployment_that_runs(aws: LocalAws, deployed: Callable[..., Deployment]):
    def program(text: str) -> Callable[[], None]:
        return lambda: pulumi.export("text", text)

    first = deployed(SAMPLE)
    assert outputs(aws) == first.outputs
    other = aws.deploy(program("no resources"), config={})
    assert outputs(aws) == first.outputs
    other.destroy()


def test_before_the_first_deployment_there_are_no_outputs():
    alone = LocalAws()
    try:
        with pytest.raises(urllib.error.HTTPError) as missing:
            outputs(alone)
        assert missing.value.code == 404
        missing.value.close()
    finally:
        alone.close()


@pytest.fixture
def mapped(aws: LocalAws, pipeline: Deployment) -> dict[str, Any]:
    """The outputs of the consumer welcome-email; the test leaves its mapping enabled."""
    return pipeline.outputs["consumers"]["welcome-email"]


def test_a_mapping_is_as_the_sandbox_runs_it(aws: LocalAws, mapped: dict[str, Any]):
    functions, [uuid] = aws.front_client("lambda"), mapped["mappings"].values()
    described = functions.get_event_source_mapping(UUID=uuid)
    assert (described["State"], described["BatchSize"], described["ParallelizationFactor"]) == ("Enabled", 100, 1)
    assert described["FunctionArn"].endswith(mapped["function"])
    assert described["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert described["MaximumRetryAttempts"] == -1
    [listed] = functions.list_event_source_mappings(FunctionName=mapped["function"])["EventSourceMappings"]
    assert listed == {name: value for name, value in described.items() if name != "ResponseMetadata"}
    assert aws.client("lambda").get_event_source_mapping(UUID=uuid)["State"] == "Disabled"


def test_a_disabled_mapping_invokes_nothing_and_continues_where_it_was(
    aws: LocalAws, pipeline: Deployment, mapped: dict[str, Any]
):
    functions, [uuid] = aws.front_client("lambda"), mapped["mappings"].values()
    users = pipeline.outputs["tables"]["users"]["name"]
    aws.wait_until_idle()
    answer = functions.update_event_source_mapping(UUID=uuid, Enabled=False, BatchSize=1)
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["State"], answer["BatchSize"]) == (202, "Disabling", 1)
    wait_for(lambda: functions.get_event_source_mapping(UUID=uuid)["State"] == "Disabled", "the mapping is disabled")
    before = len(aws.invocations(mapped["function"]))
    aws.write(users, {"id": "front-1", "email": "1@example.com"}, {"id": "front-2", "email": "2@example.com"})
    aws.wait_until_idle()
    assert len(aws.invocations(mapped["function"])) == before
    assert functions.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabling"
    wait_for(lambda: len(aws.invocations(mapped["function"])) == before + 2, "a batch for each change")
    aws.wait_until_idle()
    assert functions.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "OK"
    assert functions.update_event_source_mapping(UUID=uuid, BatchSize=100)["State"] == "Updating"


def test_a_redeployment_changes_only_what_the_program_changes(aws: LocalAws, deployed: Callable[..., Deployment]):
    config = stack_config("local", SAMPLE)
    deployment = deployed(SAMPLE, config=config)
    functions = aws.front_client("lambda")
    [uuid] = deployment.outputs["consumers"]["welcome-email"]["mappings"].values()

    def state() -> tuple[str, int, int]:
        described = functions.get_event_source_mapping(UUID=uuid)
        return described["State"], described["BatchSize"], described["MaximumBatchingWindowInSeconds"]

    def redeploy(**tuning: int) -> None:
        tuned = {"table-stream:tuning": json.dumps({"welcome-email": tuning})}
        aws.sandbox.redeploy(deployment, Program(SAMPLE, config=config | tuned))

    functions.update_event_source_mapping(UUID=uuid, Enabled=False, BatchSize=3)
    redeploy(maximumBatchingWindowInSeconds=1)
    assert state() == ("Disabled", 3, 1)
    redeploy(maximumBatchingWindowInSeconds=1, batchSize=7)
    assert state() == ("Disabled", 7, 1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"BatchSize": 20_000}, r"\(ValidationException\).*Value '20000' at 'batchSize' failed to satisfy constraint"),
        ({"FunctionName": "nobody"}, r"\(ResourceNotFoundException\).*Function does not exist: nobody"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, r"\(InvalidParameterValueException\).*Invalid filter"),
    ],
)
def test_a_refused_update_changes_nothing(aws: LocalAws, mapped: dict[str, Any], change: dict[str, Any], error: str):
    functions, [uuid] = aws.front_client("lambda"), mapped["mappings"].values()
    with pytest.raises(ClientError, match=error):
        functions.update_event_source_mapping(UUID=uuid, Enabled=False, **change)
    described = functions.get_event_source_mapping(UUID=uuid)
    assert (described["State"], described["BatchSize"]) == ("Enabled", 100)


def test_an_unknown_mapping_is_aws_s_error(aws: LocalAws):
    functions = aws.front_client("lambda")
    for call in (functions.get_event_source_mapping, functions.update_event_source_mapping):
        with pytest.raises(functions.exceptions.ResourceNotFoundException):
            call(UUID=NOBODY)
    assert functions.list_event_source_mappings(FunctionName="nobody")["EventSourceMappings"] == []


def schedule_of(aws: LocalAws, consumer: dict[str, Any]) -> str:
    """Return the name of the schedule that invokes a consumer's function."""
    schedules = aws.client("scheduler").list_schedules()["Schedules"]
    return next(each["Name"] for each in schedules if each["Target"]["Arn"].endswith(consumer["function"]))


def test_a_schedule_is_switched_off_and_on(aws: LocalAws, mapped: dict[str, Any]):
    schedules, name = aws.front_client("scheduler"), schedule_of(aws, mapped)
    described = schedules.get_schedule(Name=name)
    assert described["State"] == "ENABLED"
    names = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    request = {each: described[each] for each in names}
    aws.wait_until_idle()
    for state in ("DISABLED", "ENABLED"):
        assert schedules.update_schedule(**request, State=state)["ScheduleArn"] == described["Arn"]
        assert schedules.get_schedule(Name=name)["State"] == state
        assert aws.client("scheduler").get_schedule(Name=name)["State"] == "DISABLED"
    target = {**request["Target"], "Arn": request["Target"]["Arn"] + "-nobody"}
    for wrong in ({"Target": {**request["Target"], "Input": "not JSON"}}, {"Target": target}, {"State": "OFF"}):
        with pytest.raises(schedules.exceptions.ValidationException):
            schedules.update_schedule(**{**request, "State": "DISABLED", **wrong})
    assert schedules.get_schedule(Name=name)["State"] == "ENABLED"
    with pytest.raises(schedules.exceptions.ResourceNotFoundException):
        schedules.get_schedule(Name="nobody")
    with pytest.raises(schedules.exceptions.ResourceNotFoundException):
        schedules.update_schedule(**{**request, "Name": "nobody"})


def test_an_iterator_begins_at_the_first_record_of_its_time(aws: LocalAws):
    """Times of records are whole seconds, so the test writes in two different seconds."""
    stream = aws.create_table(
        "timed", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )
    streams = aws.front_client("dynamodbstreams")
    [shard] = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
    place = {"StreamArn": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "AT_TIMESTAMP"}

    def records(iterator: str) -> list[str]:
        found = streams.get_records(ShardIterator=iterator)["Records"]
        return [each["dynamodb"]["Keys"]["id"]["S"] for each in found]

    def read(at: float) -> list[str]:
        return records(streams.get_shard_iterator(**place, Timestamp=at)["ShardIterator"])

    empty = streams.get_shard_iterator(**place, Timestamp=time.time())["ShardIterator"]
    aws.write("timed", {"id": "a"}, {"id": "b"})
    first = int(time.time())
    wait_for(lambda: int(time.time()) > first, "the next second")
    aws.write("timed", {"id": "c"})
    second = int(time.time())
    assert records(empty) == ["a", "b", "c"]
    assert read(0) == read(first - 1) == ["a", "b", "c"]
    assert read(first + 0.5) == read(second) == ["c"]
    wait_for(lambda: time.time() > second + 1, "the next second")
    after = streams.get_shard_iterator(**place, Timestamp=second + 0.5)["ShardIterator"]
    assert records(after) == []
    aws.write("timed", {"id": "d"})
    assert records(after) == ["d"]
    with pytest.raises(ClientError, match=r"ValidationException.*is in the future"):
        read(time.time() + 60)
    with pytest.raises(ClientError, match=r"ValidationException.*Timestamp is required"):
        streams.get_shard_iterator(**place)
    with pytest.raises(streams.exceptions.ResourceNotFoundException):
        streams.get_shard_iterator(**place | {"StreamArn": stream.replace("timed", "other")}, Timestamp=first)
    latest = streams.get_shard_iterator(**place | {"ShardIteratorType": "LATEST"})["ShardIterator"]
    assert records(latest) == []
    aws.client("dynamodb").delete_table(TableName="timed")


def test_mute_rules_are_kept_without_effect(aws: LocalAws):
    alarms = aws.front_client("cloudwatch")
    now = time.time()
    weekly = {"Schedule": {"Expression": "cron(0 3 ? * MON *)", "Duration": "PT30M", "Timezone": "Europe/Berlin"}}
    targets = {"AlarmNames": ["one", "two"]}
    alarms.put_alarm_mute_rule(Name="b", Rule=ONCE, MuteTargets=targets, Description="a night", ExpireDate=now + 60)
    alarms.put_alarm_mute_rule(Name="a", Rule=weekly, MuteTargets={"AlarmNames": ["one"]})
    minute = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now))
    active = {"Schedule": {"Expression": f"at({minute})", "Duration": "P1D"}}
    alarms.put_alarm_mute_rule(Name="c", Rule=active)
    rule = alarms.get_alarm_mute_rule(AlarmMuteRuleName="b")
    assert (rule["Rule"], rule["MuteTargets"], rule["Description"], rule["MuteType"]) == (
        *(ONCE, targets, "a night"),
        "ONE_TIME",
    )
    assert rule["ExpireDate"].timestamp() == pytest.approx(now + 60)

    def names(**options: Any) -> list[str]:
        found = alarms.list_alarm_mute_rules(**options)["AlarmMuteRuleSummaries"]
        return [each["AlarmMuteRuleArn"].rsplit(":", 1)[1] for each in found]

    assert names() == ["a", "b", "c"]
    assert names(AlarmName="two") == ["b"]
    assert (names(Statuses=["SCHEDULED"]), names(Statuses=["ACTIVE"])) == (["a"], ["c"])
    pages = alarms.list_alarm_mute_rules(MaxRecords=2)
    assert names(NextToken=pages["NextToken"], MaxRecords=2) == ["c"]
    alarms.put_alarm_mute_rule(Name="c", Rule=active, ExpireDate=now - 1)
    assert alarms.get_alarm_mute_rule(AlarmMuteRuleName="c")["Status"] == "EXPIRED"
    for name in ("a", "b", "c", "nobody"):
        alarms.delete_alarm_mute_rule(AlarmMuteRuleName=name)
    assert names() == []
    with pytest.raises(alarms.exceptions.ResourceNotFoundException):
        alarms.get_alarm_mute_rule(AlarmMuteRuleName="a")
    for wrong in ({"Expression": "tomorrow"}, {"Duration": "an hour"}, {"Timezone": "Mars"}, {"Expression": "at(now)"}):
        with pytest.raises(ClientError, match="ValidationError"):
            alarms.put_alarm_mute_rule(Name="a", Rule={"Schedule": {**ONCE["Schedule"], **wrong}})


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xa1\x69Namespace\x61x"])
def test_a_body_that_is_no_json_object_is_an_error_of_aws(aws: LocalAws, mapped: dict[str, Any], body: bytes):
    [uuid] = mapped["mappings"].values()
    path = f"/2015-03-31/event-source-mappings/{uuid}"
    status, error = send(aws, "PUT", path, body, service="lambda")
    assert (status, error["__type"]) == (400, "SerializationException")
    status, error = send(aws, "PUT", f"/schedules/{schedule_of(aws, mapped)}", body, service="scheduler")
    assert (status, error["__type"]) == (400, "ValidationException")
    target = "GraniteServiceVersion20100801.PutAlarmMuteRule"
    status, error = send(aws, "POST", "/", body, service="monitoring", target=target)
    assert (status, error["__type"]) == (400, "SerializationException")


def test_a_bucket_may_have_a_name_of_another_service(aws: LocalAws):
    s3 = aws.front_client("s3")
    s3.create_bucket(Bucket="schedules", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="schedules", Key="one", Body=b"object")
    assert s3.get_object(Bucket="schedules", Key="one")["Body"].read() == b"object"
    s3.delete_object(Bucket="schedules", Key="one")
    s3.delete_bucket(Bucket="schedules")
