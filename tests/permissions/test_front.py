"""An emulator that verifies signatures accepts the requests of clients that the front changes."""

import time
from collections.abc import Generator
from typing import Any

import pytest

from sandbox.emulator import Clients
from tests.local import REGION, LocalAws, wait_for

POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'


@pytest.fixture
def client(guarded: LocalAws) -> Generator[Clients]:
    """The clients of a user that may do everything, with an access key of its own."""
    iam, name = guarded.client("iam"), {"UserName": "of-the-front"}
    iam.create_user(**name)
    iam.put_user_policy(**name, PolicyName="everything", PolicyDocument=POLICY)
    key = iam.create_access_key(**name)["AccessKey"]
    yield Clients(guarded.endpoint, REGION, (key["AccessKeyId"], key["SecretAccessKey"]))
    iam.delete_access_key(**name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(**name, PolicyName="everything")
    iam.delete_user(**name)


@pytest.fixture
def consumer(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs["consumers"]["mirror"]


def test_a_user_switches_a_mapping(client: Clients, consumer: dict[str, Any]):
    functions, [uuid] = client("lambda"), consumer["mappings"].values()
    for enabled, state in ((False, "Disabled"), (True, "Enabled")):
        functions.update_event_source_mapping(UUID=uuid, Enabled=enabled)
        wait_for(lambda state=state: functions.get_event_source_mapping(UUID=uuid)["State"] == state, state)


def test_a_user_switches_a_schedule(guarded: LocalAws, client: Clients, consumer: dict[str, Any]):
    schedules, name = client("scheduler"), consumer["schedule"]
    described = schedules.get_schedule(Name=name)
    request = {each: described[each] for each in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    for state in ("DISABLED", "ENABLED"):
        schedules.update_schedule(**request, State=state)
        assert schedules.get_schedule(Name=name)["State"] == state
        assert guarded.client("scheduler").get_schedule(Name=name)["State"] == "DISABLED"


def test_a_user_reads_a_stream_from_a_time_on(client: Clients, outputs: dict[str, Any]):
    streams, arn = client("dynamodbstreams"), outputs["tables"]["orders"]["streamArn"]
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="AT_TIMESTAMP", Timestamp=time.time()
    )
    assert streams.get_records(ShardIterator=iterator["ShardIterator"])["Records"] == []


@pytest.mark.parametrize("options", [{}, {"LogType": "None"}, {"LogType": "Tail"}])
def test_a_user_invokes_a_function_with_a_log_and_without(
    client: Clients, consumer: dict[str, Any], options: dict[str, str]
):
    answer = client("lambda").invoke(
        FunctionName=consumer["function"], Payload='{"table-stream": "retry", "now": true}', **options
    )
    assert "FunctionError" not in answer
    assert ("LogResult" in answer) == (options == {"LogType": "Tail"})
