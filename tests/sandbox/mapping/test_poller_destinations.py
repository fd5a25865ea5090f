"""The poller sends discarded records to an on-failure destination in the emulator, or reports them as lost."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from handler.stream.failures import read_failure
from tests.local import REGION
from tests.sandbox.mapping.source import PARTIAL, Source

Sources = Callable[..., Source]


def destination(arn: str) -> dict[str, Any]:
    return {"DestinationConfig": {"OnFailure": {"Destination": arn}}}


def test_a_bucket_receives_the_whole_records(source: Sources) -> None:
    kept = source("kept", MaximumRetryAttempts=1, **destination("arn:aws:s3:::kept"), **PARTIAL)
    s3 = kept.client("s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    kept.put("a", "bad")
    kept.deliver()
    assert kept.batches == [["a", "bad"], ["bad"], ["bad"]]
    assert [invocation.attempt for invocation in kept.invocations] == [1, 2, 3]
    [item] = s3.list_objects_v2(Bucket="kept", Prefix="aws/lambda/kept/")["Contents"]
    failure = read_failure(s3.get_object(Bucket="kept", Key=item["Key"])["Body"].read())
    assert failure.records == kept.invocations[-1].records
    assert kept.poller.lost_records == 0


@pytest.mark.parametrize("service", ["sqs", "sns"])
def test_a_queue_or_topic_receives_a_pointer(source: Sources, service: str) -> None:
    name = f"pointer-{service}"
    arn = queue_arn = f"arn:aws:sqs:{REGION}:000000000000:{name}"
    failing = source(name, MaximumRetryAttempts=0)
    url = failing.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    if service == "sns":
        arn = failing.client("sns").create_topic(Name=name)["TopicArn"]
        failing.client("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    failing.request |= destination(arn)
    failing.deliver("boom")
    [message] = failing.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    body = json.loads(message["Body"])
    pointer = json.loads(body["Message"]) if service == "sns" else body
    assert pointer["DDBStreamBatchInfo"]["batchSize"] == 1


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [("dropped", {}, "no on-failure destination"), ("refused", destination("arn:aws:s3:::nowhere"), "nowhere refused")],
)
def test_records_that_reach_no_destination_are_counted_and_logged(
    source: Sources, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any], reason: str
) -> None:
    """Lambda counts such records as dropped; AWS documents no retry."""
    lossy = source(name, MaximumRetryAttempts=0, **options)
    lossy.deliver("boom")
    assert lossy.poller.lost_records == 1
    [line] = [line for line in caplog.messages if "lost" in line]
    assert f"mapping {name} lost 1 records" in line
    assert reason in line
