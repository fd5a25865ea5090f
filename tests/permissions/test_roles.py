"""The mapping, the smoke test and the stores' policies with IAM enforced."""

import contextlib
import json
from collections.abc import Callable
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] -- untyped
import pytest
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- as above

from handler.stream.failures import read_failure
from ops.smoke import SmokeTest
from ops.stack import Stack
from sandbox.emulator import ACCOUNT
from sandbox.mapping.poller import Poller
from tests.consumers.project import SAMPLE
from tests.local import REGION, LocalAws, wait_for
from tests.permissions.enforcing import FROM_MAPPING, NOT_CALLED, allow, deny, recorded, refused
from tests.program.role_documents import documents, recordings


def test_smoke_calls_exactly_what_its_document_allows(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """A user stands in for the deploy role. The emulator names a log group without `:*`."""
    stack = Stack.model_validate(outputs)
    text = documents(SAMPLE, recordings(SAMPLE))["smoke.json"]
    document = json.loads(text.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION).replace(":*", ""))
    allowed = {action for statement in document["Statement"] for action in statement["Action"]}
    iam = guarded.client("iam")
    iam.create_user(UserName="smoke")
    iam.put_user_policy(UserName="smoke", PolicyName="permissions", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="smoke")["AccessKey"]

    called: set[str] = set()

    def call(model: Any, **_: Any) -> None:
        called.add(f"{model.service_model.endpoint_prefix}:{model.name}")

    def recording_client(service: str) -> Any:
        client = cast("Any", boto3).client(
            service,
            endpoint_url=guarded.sandbox.emulator.endpoint,
            region_name=REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        client.meta.events.register("before-call", call)
        return client

    assert SmokeTest(stack, recording_client).run(60, lambda effect, _: None) == []
    assert called == allowed


@pytest.fixture
def session(guarded: LocalAws, outputs: dict[str, Any]) -> dict[str, str]:
    """Return credentials of the role of welcome-email, as Lambda has them for the mapping."""
    iam, role = guarded.client("iam"), outputs["consumers"]["welcome-email"]["role"]
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    ours = {"Effect": "Allow", "Principal": {"AWS": arn.rpartition(":")[0] + ":root"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(
        RoleName=role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [ours]})
    )
    return guarded.client("sts").assume_role(RoleArn=arn, RoleSessionName="mapping")["Credentials"]


@pytest.fixture
def as_role(guarded: LocalAws, session: dict[str, str]) -> Callable[[str], Any]:
    """Return clients that act as that role."""
    role: Any = boto3.Session(
        session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"], guarded.sandbox.aws.region
    )
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return lambda service: role.client(service, endpoint_url=guarded.sandbox.emulator.endpoint, config=config)


def test_a_mapping_reads_its_stream_and_delivers_failures_with_the_role(
    guarded: LocalAws, outputs: dict[str, Any], tls_only: str, session: dict[str, str], as_role: Callable[[str], Any]
) -> None:
    """A poller stands in for Lambda; only its invocations are its own. Without the ledger, no change is held."""
    deny(guarded, outputs["consumers"]["welcome-email"]["role"], "dynamodb:Query", outputs["stores"]["ledger"]["arn"])
    clients = {service: as_role(service) for service in ("dynamodbstreams", "s3")}
    bucket = outputs["stores"]["failures"]
    mapping = {
        "EventSourceArn": outputs["tables"]["users"]["streamArn"],
        "FunctionName": outputs["consumers"]["welcome-email"]["function"],
        "StartingPosition": "TRIM_HORIZON",
        "FilterCriteria": {"Filters": [{"Pattern": '{"dynamodb": {"Keys": {"id": {"S": ["10"]}}}}'}]},
        "MaximumRetryAttempts": 0,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": bucket["arn"]}},
    }
    guarded.write(outputs["tables"]["users"]["name"], {"id": "10", "email": 10})
    acting = Poller(lambda service: clients.get(service) or guarded.client(service), lambda invocation: None)
    with contextlib.closing(acting) as poller:
        poller.attach("by-the-role", mapping)
        wait_for(lambda: guarded.objects(bucket["bucket"], "aws/lambda/by-the-role/"), "a failure record")
    [body] = guarded.objects(bucket["bucket"], "aws/lambda/by-the-role/").values()
    assert [each["dynamodb"]["Keys"] for each in read_failure(body).records] == [{"id": {"S": "10"}}]
    called = {action for name, action in recorded(guarded) if name == session["AccessKeyId"]}
    assert called == FROM_MAPPING - NOT_CALLED | {"s3:PutObject"}


def test_the_failure_bucket_takes_nothing_without_tls(
    guarded: LocalAws, outputs: dict[str, Any], tls_only: str, as_role: Callable[[str], Any]
) -> None:
    s3, bucket = guarded.client("s3"), outputs["stores"]["failures"]["bucket"]
    put = {"Bucket": bucket, "Key": "aws/lambda/plain", "Body": b""}
    assert not refused(as_role("s3").put_object, **put)
    lenient = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    s3.put_bucket_policy(Bucket=bucket, Policy=tls_only)
    assert refused(as_role("s3").put_object, **put)
    s3.put_bucket_policy(Bucket=bucket, Policy=lenient)


def test_a_role_may_use_the_key_only_through_a_service(
    guarded: LocalAws, outputs: dict[str, Any], as_role: Callable[[str], Any]
) -> None:
    arn = guarded.client("kms").describe_key(KeyId="alias/table-stream-local-encryption")["KeyMetadata"]["Arn"]
    wanted = {"KeyId": arn, "KeySpec": "AES_256"}
    assert refused(as_role("kms").generate_data_key, **wanted)
    role = outputs["consumers"]["welcome-email"]["role"]
    allow(guarded, role, "anyhow", ["kms:GenerateDataKey"], arn)
    assert not refused(as_role("kms").generate_data_key, **wanted)
    guarded.client("iam").delete_role_policy(RoleName=role, PolicyName="anyhow")
