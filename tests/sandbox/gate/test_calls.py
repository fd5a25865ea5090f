"""What the gate reads from a function's call, in AWS's protocols."""

import json

import pytest

from sandbox.front.forwarding import Request
from sandbox.gate.calls import Call
from sandbox.gate.sent import sent_by

FORM = "application/x-www-form-urlencoded"


def request(service: str, method: str = "POST", target: str = "/", body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = f"AWS4-HMAC-SHA256 Credential=key/20261126/us-east-1/{service}/aws4_request"
    return Request(method, target, {"authorization": signed, "user-agent": "Boto3/1 app/f-1", **named}, body)


@pytest.mark.parametrize(
    ("asked", "operation", "is_read"),
    [
        (request("dynamodb", x_amz_target="DynamoDB_20120810.Query", body=b"{}"), "Query", True),
        (request("dynamodb", x_amz_target="DynamoDB_20120810.UpdateItem", body=b"{}"), "UpdateItem", False),
        (request("s3", "GET", "/bucket/a%20key"), "GetObject", True),
        (request("s3", "PUT", "/bucket/key?x=1"), "PutObject", False),
        (request("s3", "GET", "/bucket?list-type=2"), "ListObjectsV2", True),
        (request("lambda", target="/2015-03-31/functions/f/invocations"), "Invoke", False),
        (
            request("cloudwatch", target="/service/GraniteServiceVersion20100801/operation/PutMetricData"),
            "PutMetricData",
            False,
        ),
        (
            request("sns", body=b"Action=Publish&Message=a%26b", content_type="application/x-www-form-urlencoded"),
            "Publish",
            False,
        ),
        (request("other", "GET", "/unknown"), "", False),
        (request("dynamodb", x_amz_target="DynamoDB_20120810.PutItem", body=b"[broken"), "", False),
    ],
)
def test_an_operation_is_named_as_aws_names_it(asked: Request, operation: str, is_read: bool):
    call = Call.of(asked)
    assert (call.function, call.operation, call.is_read) == ("f-1", operation, is_read)


def test_all_tables_of_a_call_are_known():
    items = [{"Put": {"TableName": "a"}}, {"ConditionCheck": {"TableName": "b"}}]
    body = json.dumps({"TransactItems": items}).encode()
    assert Call.of(request("dynamodb", x_amz_target="D.TransactWriteItems", body=body)).tables == {"a", "b"}
    body = json.dumps({"RequestItems": {"c": []}}).encode()
    assert Call.of(request("dynamodb", x_amz_target="D.BatchWriteItem", body=body)).tables == {"c"}


def test_a_raw_mail_and_a_mail_of_the_first_api_are_read():
    raw = "RnJvbTogbWVAZXhhbXBsZS5jb20KVG86IHlvdUBleGFtcGxlLmNvbQpTdWJqZWN0OiBIaQoKdGhlcmUK"  # pragma: allowlist secret
    new = Call("f", "ses", "SendEmail", {"Content": {"Raw": {"Data": raw}}}, "")
    old = {
        "Source": "me@example.com",
        "Destination.ToAddresses.member.1": "you@example.com",
        "Message.Subject.Data": "Hi",
        "Message.Body.Text.Data": "there\n",
    }
    mail = {"from": "me@example.com", "to": ["you@example.com"], "subject": "Hi", "text": "there\n"}
    assert [*sent_by(new), *sent_by(Call("f", "ses", "SendEmail", old, ""))] == [("mail", mail)] * 2


def test_batches_of_messages_are_single_messages():
    entries = [{"MessageBody": "a"}, {"MessageBody": "b"}]
    queued = Call("f", "sqs", "SendMessageBatch", {"QueueUrl": "http://x/1/jobs", "Entries": entries}, "")
    events = [{"Source": "shop", "DetailType": "sold", "Detail": "{}"}]
    put = Call("f", "events", "PutEvents", {"Entries": events}, "")
    assert [fields["text"] for _, fields in [*sent_by(queued), *sent_by(put)]] == ["a", "b", "shop sold: {}"]
