"""Each function calls what its role's policy allows, and nothing is allowed that no function calls.

The sample program is encrypted with a customer managed key. The emulator ignores `dynamodb:LeadingKeys`, so these tests
compare the recorded calls with it. The emulator also allows sending mail and reading a stream only on `*`, has one
account, writes a function's logs without its role, and calls KMS for no service: there, only the tests of the policies
apply, and only AWS can show that the permissions for the key suffice. No schedule runs, so no schedule's role is used.
"""

import json
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.local import LocalAws
from tests.permissions.enforcing import (
    FROM_MAPPING,
    action_of,
    ask,
    deny,
    inserted,
    recorded,
    statements,
    trail,
)

LEADING_KEYS = "dynamodb:LeadingKeys"
HELPED_FROM = 501
"""So many held items make a retry run invoke a helper, and a batch read the rows of its own items only."""
RETRY = {"table-stream": "retry", "now": True}
BY_LAMBDA = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The actions that Lambda itself calls by the function's role."""


@pytest.fixture(scope="session")
def calls(guarded: LocalAws, outputs: dict[str, Any], tls_only: str) -> dict[str, set[str]]:
    """Return what each function called while changes succeeded, were held, retried and parked."""
    users = [
        {"id": "1", "email": "ada@example.com"},
        {"id": "2", "email": "bob@example.com", "language": "xx"},
        {"id": "3", "email": 3},  # SES refuses it: it is held
    ]
    orders = [{"customer_id": "c", "order_id": "1"}]
    return {
        "change-log": deliver(guarded, outputs, "change-log", "users", users[:1]),
        "mirror": deliver(guarded, outputs, "mirror", "orders", orders),
        "welcome-email": deliver(guarded, outputs, "welcome-email", "users", users)
        | deliver(guarded, outputs, "welcome-email", "users", [{"id": "4", "email": "cy@example.com"}], age=60)
        | called(guarded, lambda: run_with_many_held_items(guarded, outputs, "welcome-email"))
        | called(guarded, lambda: report(guarded, outputs, "welcome-email"))
        | called(guarded, lambda: forget(guarded, outputs, "welcome-email")),
    }


def run_with_many_held_items(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> None:
    """Run a batch and a retry while the ledger says that many items are held and due.

    The rows lack a format, so that no run can lease these items, which would take minutes. The retry run does not wait
    for its helper, which may end later.
    """
    ledger, dynamodb = outputs["stores"]["ledger"]["name"], guarded.client("dynamodb")
    keys = [{"pk": {"S": f"hold#{consumer}"}, "sk": {"S": f"{number:032x}"}} for number in range(HELPED_FROM)]
    puts = [{"PutRequest": {"Item": {**key, "state": {"S": "held"}}}} for key in keys]
    deletes = [{"DeleteRequest": {"Key": key}} for key in keys]
    for start in range(0, len(puts), 25):
        dynamodb.batch_write_item(RequestItems={ledger: puts[start : start + 25]})
    user = inserted(outputs["tables"]["users"]["streamArn"], {"id": "7", "email": "ed@example.com"})
    assert ask(guarded, outputs, consumer, {"Records": [user]}) == {"batchItemFailures": []}
    assert ask(guarded, outputs, consumer, RETRY)["due"] > HELPED_FROM
    for start in range(0, len(deletes), 25):
        dynamodb.batch_write_item(RequestItems={ledger: deletes[start : start + 25]})


def report(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> None:
    """Have a change reported, which leaves a note: of two users, one can be neither mailed nor held."""
    stream, role = outputs["tables"]["users"]["streamArn"], outputs["consumers"][consumer]["role"]
    records = [inserted(stream, {"id": name, "email": email}) for name, email in (("5", "di@example.com"), ("6", 6))]
    deny(guarded, role, "dynamodb:BatchWriteItem", outputs["stores"]["ledger"]["arn"])
    failed = [{"itemIdentifier": records[1]["dynamodb"]["SequenceNumber"]}]
    assert ask(guarded, outputs, consumer, {"Records": records}) == {"batchItemFailures": failed}
    guarded.client("iam").delete_role_policy(RoleName=role, PolicyName="denied")


def forget(guarded: LocalAws, outputs: dict[str, Any], consumer: str) -> None:
    """Have the row of a released item removed: the ledger is made to say that a held item was released an hour ago."""
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
    description = {"pk": {"S": f"{row['pk']['S']}#{row['sk']['S']}"}, "sk": {"S": "!"}}
    for key in ({"pk": row["pk"], "sk": row["sk"]}, description):
        assert "Item" not in dynamodb.get_item(TableName=ledger, Key=key)


def deliver(
    guarded: LocalAws, outputs: dict[str, Any], consumer: str, table: str, items: list[dict[str, Any]], age: int = 0
) -> set[str]:
    """Invoke a function twice with inserts of `items`, as a mapping may, and return the actions that it called."""
    stream, created = outputs["tables"][table]["streamArn"], int(time.time()) - age
    records = [inserted(stream, item, created) for item in items]

    def invoke() -> None:
        for _ in range(2):
            assert ask(guarded, outputs, consumer, {"Records": records}) == {"batchItemFailures": []}

    return called(guarded, invoke)


def called(guarded: LocalAws, invoke: Callable[[], object]) -> set[str]:
    """Return the actions that roles call while `invoke` runs."""
    began = time.time()
    invoke()
    mailed = {"ses:SendEmail"} if guarded.mails() else set[str]()  # the emulator does not record mail
    return {action for _, action in recorded(guarded, began)} | mailed


def partitions(asked: Mapping[str, Any], ledger: str) -> set[str]:
    """Return the partitions of the ledger that a DynamoDB request names."""
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
    """Return the actions that the role's policy allows to the function itself."""
    allowed = statements(guarded, outputs["consumers"][consumer]["role"])
    actions = {action for statement in allowed for action in statement["Action"] if not action.startswith("kms:")}
    return actions - FROM_MAPPING - BY_LAMBDA


@pytest.mark.parametrize("consumer", ["change-log", "mirror", "welcome-email"])
def test_a_function_calls_only_what_its_role_grants(
    consumer: str, guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    assert calls[consumer] <= granted(guarded, outputs, consumer)


def test_every_permission_is_used_by_some_consumer(
    guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    """The engine's permissions are the same for each function, since only a handler's code says whether it claims."""
    permissions = {action for consumer in calls for action in granted(guarded, outputs, consumer)}
    assert permissions == {action for called in calls.values() for action in called}


def test_the_ledger_is_asked_only_for_partitions_that_its_conditions_allow(
    guarded: LocalAws, outputs: dict[str, Any], calls: dict[str, set[str]]
) -> None:
    """The emulator ignores `dynamodb:LeadingKeys`; each pattern is also used by some call."""
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
        each: [pattern for pattern in patterns if pattern[0] == each[0] and fnmatchcase(each[1], pattern[1])]
        for each in asked
    }
    assert [each for each, allowed_by in used.items() if not allowed_by] == []
    needed = {pattern for allowed_by in used.values() for pattern in allowed_by}
    assert {each for each in patterns - needed if "#welcome-email" in each[1]} == set()


def test_what_is_not_granted_is_refused(guarded: LocalAws, outputs: dict[str, Any]) -> None:
    """The emulator enforces IAM: a denied write holds the change, and a denied ledger has it reported."""
    mirror = outputs["tables"]["orders-mirror"]["arn"]
    orders = outputs["tables"]["orders"]["streamArn"]
    changes = [inserted(orders, {"customer_id": "c", "order_id": order}) for order in ("held", "reported")]
    for change, denied, reported in zip(changes, (mirror, "*"), (False, True), strict=True):
        deny(guarded, outputs["consumers"]["mirror"]["role"], "dynamodb:*", denied)
        failed = [{"itemIdentifier": change["dynamodb"]["SequenceNumber"]}] if reported else []
        assert ask(guarded, outputs, "mirror", {"Records": [change]}) == {"batchItemFailures": failed}
    guarded.client("iam").delete_role_policy(RoleName=outputs["consumers"]["mirror"]["role"], PolicyName="denied")
