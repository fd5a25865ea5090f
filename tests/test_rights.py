"""Rights granted are calls made, both ways, with IAM enforced by the emulator and every call on its record.

What is deployed is encrypted with a key of its own. The emulator does not look at `dynamodb:LeadingKeys`: the calls on
record are compared with them here. It takes sending mail and reading a stream for actions on `*`, has one account, lets
Lambda write logs with rights of its own, and no service of its own calls KMS: for those, the policies' own tests stand,
and that the rights to the key suffice only AWS can show. Its schedules are off, so no role of theirs is used.
Nor does anything here call `dynamodb:ListStreams` and `s3:ListBucket`: Lambda's documentation asks for them.
"""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Generator, Mapping
from fnmatch import fnmatchcase
from typing import Any, cast

import boto3  # pyright: ignore[reportMissingTypeStubs] -- untyped
import pytest
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs] -- as above
from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- as above

from handler.stream.failures import read_failure
from ops.smoke import SmokeTest
from ops.stack import Stack
from sandbox import ROOT
from sandbox.emulator import ACCOUNT
from sandbox.mapping.poller import Poller
from sandbox.program.in_process import stack_config
from tests.local import REGION, LocalAws, wait_for

ENFORCED = {
    "AUTH": "true",
    "CLOUDTRAIL_RECORDING": "1",
    "CLOUDTRAIL_MAX_EVENTS": "100000",
    "AWS_ACCESS_KEY_ID": "sandbox",
}
LEADING_KEYS = "dynamodb:LeadingKeys"
HELPED_FROM = 501
"""Due items with which a retry run invokes a helper, and more than one read of what is held shows."""
BY_THE_MAPPING = {
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "s3:ListBucket",
}
RETRY = {"table-stream": "retry", "now": True}
SEQUENCE = itertools.count()
UNCALLED = {"dynamodb:ListStreams", "s3:ListBucket"}
ANYWHERE = BY_THE_MAPPING - UNCALLED | {"ses:SendEmail"}
"""What the emulator allows only on `*`."""
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.fixture(scope="module")
def guarded() -> Generator[LocalAws]:
    """An emulator that asks IAM before each call, and keeps a record of them."""
    local = LocalAws(ENFORCED)
    yield local
    local.close()


@pytest.fixture(scope="module")
def outputs(guarded: LocalAws) -> dict[str, Any]:
    """The whole program's outputs, deployed; it goes with its emulator."""
    outputs = guarded.deploy(config=stack_config("local") | {"encryption": "customer"}).outputs
    role = outputs["consumers"]["welcome-email"]["role"]
    allowed = [action for statement in statements(guarded, role) for action in statement["Action"]]
    allow(guarded, role, "anywhere", [action for action in allowed if action in ANYWHERE], "*")
    return outputs


def allow(guarded: LocalAws, role: str, name: str, actions: list[str], resource: str) -> None:
    """Add to what a role may do."""
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    guarded.client("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)


def deny(guarded: LocalAws, role: str, action: str, resource: str) -> None:
    """Deny something that a role may do, in place of what was denied before."""
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": action, "Resource": resource}}
    guarded.client("iam").put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=json.dumps(document))


def statements(guarded: LocalAws, role: str) -> list[dict[str, Any]]:
    """What a role may do as it was deployed."""
    iam = guarded.client("iam")
    names = set(iam.list_role_policies(RoleName=role)["PolicyNames"]) - {"anywhere", "denied"}
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for document in documents for statement in document["Statement"]]


@pytest.fixture(scope="module")
def tls_only(guarded: LocalAws, outputs: dict[str, Any]) -> str:
    """The failure bucket's policy as it was: without what it says of TLS now, for the emulator has plain HTTP only."""
    s3, bucket = guarded.client("s3"), outputs["stores"]["failures"]["bucket"]
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    document = json.loads(policy)
    document["Statement"] = [each for each in document["Statement"] if each["Sid"] != "TlsOnly"]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    return policy


@pytest.fixture(scope="module")
def calls(guarded: LocalAws, outputs: dict[str, Any], tls_only: str) -> dict[str, set[str]]:
    """What each consumer's function called while changes succeeded, were held, tried again and parked."""
    users = [
        {"id": "1", "email": "ada@example.com"},
        {"id": "2", "email": "bob@example.com", "language": "xx"},
        {"id": "3", "email": 3},  # which SES refuses: it is held
    ]
    orders = [{"customer_id": "c", "order_id": "1"}]
    many = [{"id": f"held-{number}", "email": number} for number in range(HELPED_FROM)]
    return {
        "change-log": deliver(guarded, outputs, "change-log", "users", users[:1]),
        "mirror": deliver(guarded, outputs, "mirror", "orders", orders),
        "welcome-email": deliver(guarded, outputs, "welcome-email", "users", users)
        | deliver(guarded, outputs, "welcome-email", "users", [{"id": "4", "email": "cy@example.com"}], age=60)
        | deliver(guarded, outputs, "welcome-email", "users", many)
        | called(guarded, lambda: ask(guarded, outputs, "welcome-email", RETRY))
        | called(guarded, lambda: report(guarded, outputs, "welcome-email"))
        | called(guarded, lambda: forget(guarded, outputs, "welcome-email")),
    }


def report(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> None:
    """Have a change reported, which leaves a note: of two users one is welcomed and the other cannot be held."""
    stream, role = outputs["tables"]["users"]["streamArn"], outputs["consumers"][consumer]["role"]
    records = [inserted(stream, {"id": name, "email": email}) for name, email in (("5", "di@example.com"), ("6", 6))]
    deny(guarded, role, "dynamodb:BatchWriteItem", outputs["stores"]["ledger"]["arn"])
    failed = [{"itemIdentifier": records[1]["dynamodb"]["SequenceNumber"]}]
    assert ask(guarded, outputs, consumer, {"Records": records}) == {"batchItemFailures": failed}
    guarded.client("iam").delete_role_policy(RoleName=role, PolicyName="denied")


def forget(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> None:
    """Have an item removed that was released an hour ago, which the ledger is made to say of one that is held."""
    ledger, held = outputs["stores"]["ledger"]["name"], {":pk": {"S": f"hold#{consumer}"}}
    dynamodb = guarded.client("dynamodb")
    row, *_ = dynamodb.query(
        TableName=ledger, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=held, Limit=1
    )["Items"]
    dynamodb.update_item(
        TableName=ledger,
        Key={"pk": row["pk"], "sk": row["sk"]},
        UpdateExpression="SET #state = :done, expiry = :past",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":done": {"S": "done"}, ":past": {"N": "1"}},
    )
    ask(guarded, outputs, consumer, {"table-stream": "retry"})
    assert "Item" not in dynamodb.get_item(TableName=ledger, Key={"pk": row["pk"], "sk": row["sk"]})


def deliver(
    guarded: LocalAws, outputs: dict[str, Any], consumer: str, table: str, items: list[dict[str, Any]], age: int = 0
) -> set[str]:
    """Invoke a consumer's function with inserts of `items`, twice, as a mapping may; the actions that it called."""
    stream, created = outputs["tables"][table]["streamArn"], int(time.time()) - age
    records = [inserted(stream, item, created) for item in items]

    def invoke() -> None:
        for _ in range(2):
            assert ask(guarded, outputs, consumer, {"Records": records}) == {"batchItemFailures": []}

    return called(guarded, invoke)


def ask(guarded: LocalAws, outputs: dict[str, Any], consumer: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """What a consumer's function answers to an event."""
    function = outputs["consumers"][consumer]["function"]
    answer = guarded.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    return payload


def called(guarded: LocalAws, invoke: Callable[[], object]) -> set[str]:
    """The actions that roles call while something runs."""
    began = time.time()
    invoke()
    mailed = {"ses:SendEmail"} if guarded.mails() else set[str]()  # the emulator's record leaves mail out
    return {action for _, action in recorded(guarded, began)} | mailed


def inserted(stream_arn: str, item: Mapping[str, Any], created: int | None = None) -> dict[str, Any]:
    image = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in item.items()}
    keys = {name: value for name, value in image.items() if name == "id" or name.endswith("_id")}
    number = 10**20 + next(SEQUENCE)
    return {
        "eventID": f"event-{number}",
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "eventSourceARN": stream_arn,
        "dynamodb": {
            "Keys": keys,
            "NewImage": image,
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": int(time.time()) if created is None else created,
        },
    }


def trail(guarded: LocalAws, since: float = 0.0) -> list[dict[str, Any]]:
    """The calls by roles, newest first, as the emulator's CloudTrail has them.

    It answers with fifty, and has no pages. So each lookup ends where the one before it did, to the microsecond: boto3
    sends whole seconds.
    """
    client, found, end = guarded.client("cloudtrail"), dict[str, dict[str, Any]](), time.time() + 60

    def between(params: dict[str, Any], **_: Any) -> None:
        params["body"] = json.dumps({"StartTime": since, "EndTime": end}).encode()

    client.meta.events.register("before-call.cloudtrail.LookupEvents", between)
    try:
        while events := [each for each in client.lookup_events()["Events"] if each["EventId"] not in found]:
            found |= {each["EventId"]: each for each in events}
            end = events[-1]["EventTime"].timestamp() + 1e-6
    finally:
        client.meta.events.unregister("before-call.cloudtrail.LookupEvents", between)
    return [each for each in found.values() if each["Username"] != "sandbox"]


def recorded(guarded: LocalAws, since: float = 0.0) -> set[tuple[str, str]]:
    """Who has called which action: one name an assumed role."""
    return {(event["Username"], action_of(event)) for event in trail(guarded, since)}


def action_of(event: Mapping[str, Any]) -> str:
    """The action that allows a call; of one alone it bears another name."""
    service, call = event["EventSource"].split(".")[0].removesuffix("streams"), event["EventName"]
    return "lambda:InvokeFunction" if (service, call) == ("lambda", "Invoke") else f"{service}:{call}"


def partitions(asked: Mapping[str, Any], ledger: str) -> set[str]:
    """The partitions of the ledger that a call of DynamoDB's is about."""
    if "RequestItems" in asked:
        match asked["RequestItems"].get(ledger):
            case {"Keys": keys}:  # read
                pass
            case [*writes]:
                keys = [
                    each["PutRequest"]["Item"] if "PutRequest" in each else each["DeleteRequest"]["Key"]
                    for each in writes
                ]
            case _:
                keys = []
    elif asked["TableName"] == ledger:
        keys = [asked.get("Key") or asked.get("Item") or {"pk": asked["ExpressionAttributeValues"][":pk"]}]
    else:
        keys = []
    return {key["pk"]["S"] for key in keys}


def granted(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> set[str]:
    """Actions that the role's policy allows to the function itself."""
    said = statements(guarded, outputs["consumers"][consumer]["role"])
    actions = {action for statement in said for action in statement["Action"] if not action.startswith("kms:")}
    return actions - BY_THE_MAPPING - BY_LAMBDA


@pytest.mark.parametrize("consumer", ["change-log", "mirror", "welcome-email"])
def test_a_function_calls_only_what_its_role_grants(
    consumer: str, guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    assert calls[consumer] <= granted(guarded, outputs, consumer)


def test_every_right_is_used_by_some_consumer(
    guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    """The engine's rights are the same for all: whether a handler claims stands in its code alone."""
    rights = {action for consumer in calls for action in granted(guarded, outputs, consumer)}
    assert rights == {action for made in calls.values() for action in made}


def test_the_ledger_is_asked_only_for_what_its_conditions_let_through(
    guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    """What the emulator does not look at: `dynamodb:LeadingKeys`. Every pattern is some call's."""
    patterns = {
        (action, pattern)
        for consumer in calls
        for statement in statements(guarded, outputs["consumers"][consumer]["role"])
        for pattern in statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get(LEADING_KEYS, ())
        for action in statement["Action"]
    }
    asked = {
        (action_of(event), partition)
        for event in trail(guarded)
        if event["EventSource"] == "dynamodb.amazonaws.com"
        for partition in partitions(
            json.loads(event["CloudTrailEvent"])["requestParameters"], outputs["stores"]["ledger"]["name"]
        )
    }
    used = {
        each: [wanted for wanted in patterns if wanted[0] == each[0] and fnmatchcase(each[1], wanted[1])]
        for each in asked
    }
    assert [each for each, through in used.items() if not through] == []
    let_through = {wanted for through in used.values() for wanted in through}
    assert {each for each in patterns - let_through if "#welcome-email" in each[1]} == set()


def test_smoke_needs_what_its_document_grants_and_nothing_else(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """The deploy role's smoke.json, with a user in the role's place; the emulator names a log group without `:*`."""
    stack = Stack.model_validate(outputs)
    document = (ROOT / "docs" / "roles" / "smoke.json").read_text()
    rights = json.loads(document.replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION).replace(":*", ""))
    granted = {action for statement in rights["Statement"] for action in statement["Action"]}
    iam = guarded.client("iam")
    iam.create_user(UserName="smoke")
    iam.put_user_policy(UserName="smoke", PolicyName="rights", PolicyDocument=json.dumps(rights))
    key = iam.create_access_key(UserName="smoke")["AccessKey"]

    called: set[str] = set()

    def call(model: Any, **_: Any) -> None:
        called.add(f"{model.service_model.endpoint_prefix}:{model.name}")

    def client(service: str) -> Any:
        made = cast("Any", boto3).client(
            service,
            endpoint_url=guarded.sandbox.emulator.endpoint,
            region_name=REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )
        made.meta.events.register("before-call", call)
        return made

    assert SmokeTest(stack, client).run(60, lambda effect, _: None) == []
    assert called == granted


def test_what_is_not_granted_is_refused(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """Without the mirror's right to write to the mirror its change is held, without any it is reported.

    So the emulator does enforce.
    """
    mirror = outputs["tables"]["orders-mirror"]["arn"]
    orders = outputs["tables"]["orders"]["streamArn"]
    changes = [inserted(orders, {"customer_id": "c", "order_id": order}) for order in ("held", "reported")]
    for change, denied, reported in zip(changes, (mirror, "*"), (False, True), strict=True):
        deny(guarded, outputs["consumers"]["mirror"]["role"], "dynamodb:*", denied)
        failed = [{"itemIdentifier": change["dynamodb"]["SequenceNumber"]}] if reported else []
        assert ask(guarded, outputs, "mirror", {"Records": [change]}) == {"batchItemFailures": failed}


@pytest.fixture
def session(guarded: LocalAws, outputs: dict[str, Any]) -> dict[str, str]:
    """Credentials of the role of welcome-email, such as Lambda has for its mapping."""
    iam, role = guarded.client("iam"), outputs["consumers"]["welcome-email"]["role"]
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    ours = {"Effect": "Allow", "Principal": {"AWS": arn.rpartition(":")[0] + ":root"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(
        RoleName=role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [ours]})
    )
    return guarded.client("sts").assume_role(RoleArn=arn, RoleSessionName="mapping")["Credentials"]


@pytest.fixture
def as_role(guarded: LocalAws, session: dict[str, str]) -> Callable[[str], Any]:
    """Clients that act as that role."""
    made: Any = boto3.Session(
        session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"], guarded.sandbox.aws.region
    )
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return lambda service: made.client(service, endpoint_url=guarded.sandbox.emulator.endpoint, config=config)


def test_a_mapping_reads_its_stream_and_delivers_failures_by_the_role(
    guarded: LocalAws, outputs: dict[str, Any], tls_only: str, session: dict[str, str], as_role: Callable[[str], Any]
) -> None:
    """The poller in Lambda's place: only its invocations are its own. While the ledger is denied, nothing is held."""
    deny(guarded, outputs["consumers"]["welcome-email"]["role"], "dynamodb:Query", outputs["stores"]["ledger"]["arn"])
    clients = {service: as_role(service) for service in ("dynamodbstreams", "s3")}
    bucket = outputs["stores"]["failures"]
    mapping = {
        "EventSourceArn": outputs["tables"]["users"]["streamArn"],
        "FunctionName": outputs["consumers"]["welcome-email"]["function"],
        "StartingPosition": "TRIM_HORIZON",
        "FilterCriteria": {"Filters": [{"Pattern": '{"dynamodb": {"Keys": {"id": {"S": ["9"]}}}}'}]},
        "MaximumRetryAttempts": 0,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": bucket["arn"]}},
    }
    guarded.write(outputs["tables"]["users"]["name"], {"id": "9", "email": 9})
    acting = Poller(lambda service: clients.get(service) or guarded.client(service), lambda invocation: None)
    with contextlib.closing(acting) as poller:
        poller.attach("by-the-role", mapping)
        wait_for(lambda: guarded.objects(bucket["bucket"], "aws/lambda/by-the-role/"), "a failure record")
    [body] = guarded.objects(bucket["bucket"], "aws/lambda/by-the-role/").values()
    assert [each["dynamodb"]["Keys"] for each in read_failure(body).records] == [{"id": {"S": "9"}}]
    called = {action for name, action in recorded(guarded) if name == session["AccessKeyId"]}
    assert called == BY_THE_MAPPING - UNCALLED | {"s3:PutObject"}


def refused(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"):
            return True
        raise
    return False


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


def test_a_role_may_not_use_the_key_but_through_a_service(
    guarded: LocalAws, outputs: dict[str, Any], as_role: Callable[[str], Any]
) -> None:
    arn = guarded.client("kms").describe_key(KeyId="alias/table-stream-local-encryption")["KeyMetadata"]["Arn"]
    wanted = {"KeyId": arn, "KeySpec": "AES_256"}
    assert refused(as_role("kms").generate_data_key, **wanted)
    role = outputs["consumers"]["welcome-email"]["role"]
    allow(guarded, role, "anyhow", ["kms:GenerateDataKey"], arn)
    assert not refused(as_role("kms").generate_data_key, **wanted)
    guarded.client("iam").delete_role_policy(RoleName=role, PolicyName="anyhow")
