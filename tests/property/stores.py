"""DynamoDB and S3 in memory, as far as the engine calls them: any other call or condition is an error of the test.

Not imitated: sizes, capacity, time to live (nothing expires), and every expression but those below. An eventually
consistent read sees what was written some seconds ago, always; a real one sometimes. Claims carry the real clock's
times (Powertools takes no other): they are held for as long a span of simulated time.
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- boto3 is untyped

Act = Callable[[], None]
Door = Callable[[str, Act], None]
"""What a request passes on its way to a store, with its name and detail and what it does there: where faults wait."""

STALE_SECONDS = 30.0
Key = tuple[str, str, str]


def refusal(code: str, operation: str, **found: Any) -> ClientError:
    """The error that boto3 would raise."""
    answer: Any = {"Error": {"Code": code, "Message": "as the test wants it"}, **found}
    return ClientError(answer, operation)


class UnknownRequestError(AssertionError):
    """The store does not imitate this; also kept in `Tables.unknown`, since the engine takes any error for a fault."""


class Tables:
    """Items of all tables by table, pk (or id) and sk, each with the versions that it had."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.versions: dict[Key, list[tuple[float, dict[str, Any] | None]]] = {}
        self.held_until: dict[Key, float] = {}
        self.unknown: UnknownRequestError | None = None

    def item(self, key: Key, at: float | None = None) -> dict[str, Any] | None:
        """The item as it is, or as it was."""
        found = [item for when, item in self.versions.get(key, ()) if at is None or when <= at]
        return found[-1] if found else None

    def put(self, key: Key, item: dict[str, Any] | None) -> None:
        """Write an item, or remove it."""
        self.versions.setdefault(key, []).append((self.clock(), item))


class Dynamo:
    """One environment's client."""

    def __init__(self, tables: Tables, door: Door) -> None:
        self._tables, self._door = tables, door

    def query(self, **request: Any) -> dict[str, list[dict[str, Any]]]:
        """The nearest note at or below a record."""
        shape = request["KeyConditionExpression"], request["ScanIndexForward"], request["Limit"]
        if shape != ("pk = :pk AND sk <= :first", False, 1):
            raise self._unknown(request)
        values = request["ExpressionAttributeValues"]
        at = None if request.get("ConsistentRead") else self._tables.clock() - STALE_SECONDS
        found = list[dict[str, Any]]()

        def read() -> None:
            keys = sorted(key for key in self._tables.versions if key[:2] == (request["TableName"], values[":pk"]["S"]))
            items = (self._tables.item(key, at) for key in reversed(keys) if key[2] <= values[":first"]["S"])
            found.extend([item for item in items if item is not None][:1])

        self._door("read", read)
        return {"Items": found}

    def put_item(self, **request: Any) -> None:
        """A note, a fenced item or a claim, told apart by the condition."""
        item = request["Item"]
        key = self._key(request["TableName"], item)
        condition = request.get("ConditionExpression")
        if condition is None:
            self._door("note", lambda: self._tables.put(key, item))
        elif condition.startswith("attribute_not_exists(#v) OR (begins_with(#v, :source) AND #v < :version)"):
            self._fenced(key, item, request)
        elif "#in_progress_expiry < :now_in_millis" in condition:
            self._claim(key, item, request["ExpressionAttributeValues"])
        else:
            raise self._unknown(request)

    def update_item(self, **request: Any) -> None:
        """Mark a claim done."""
        if not request["UpdateExpression"].startswith("SET #response_data = :response_data"):
            raise self._unknown(request)
        key = self._key(request["TableName"], request["Key"])
        status = request["ExpressionAttributeNames"]["#status"]

        def mark() -> None:
            self._tables.put(
                key, {**(self._tables.item(key) or {}), status: request["ExpressionAttributeValues"][":status"]}
            )

        self._door(f"mark {key[1]}", mark)

    def delete_item(self, **request: Any) -> None:
        """Give a claim back."""
        key = self._key(request["TableName"], request["Key"])

        def give_back() -> None:
            self._tables.put(key, None)

        self._door(f"mark {key[1]}", give_back)

    def _fenced(self, key: Key, item: dict[str, Any], request: dict[str, Any]) -> None:
        name, values = request["ExpressionAttributeNames"]["#v"], request["ExpressionAttributeValues"]

        def put() -> None:
            there = self._tables.item(key)
            version = there[name]["S"] if there else ""
            if there and not (version.startswith(values[":source"]["S"]) and version < values[":version"]["S"]):
                raise refusal("ConditionalCheckFailedException", "PutItem", Item=there)
            self._tables.put(key, item)

        self._door("fence", put)

    def _claim(self, key: Key, item: dict[str, Any], values: dict[str, Any]) -> None:
        now = self._tables.clock() * 1000

        def put() -> None:
            there = self._tables.item(key)
            if there and (there["status"]["S"] != "INPROGRESS" or self._tables.held_until[key] >= now):
                raise refusal("ConditionalCheckFailedException", "PutItem", Item=there)
            left = int(item["in_progress_expiration"]["N"]) - int(values[":now_in_millis"]["N"])
            self._tables.held_until[key] = now + left
            self._tables.put(key, item)

        self._door("claim", put)

    def _unknown(self, request: dict[str, Any]) -> UnknownRequestError:
        self._tables.unknown = UnknownRequestError(request)
        return self._tables.unknown

    def _key(self, table: str, item: dict[str, Any]) -> Key:
        name = "pk" if "pk" in item else "id"
        return table, item[name]["S"], item.get("sk", {"S": ""})["S"]


class Bucket:
    """One bucket's objects by key."""

    def __init__(self, objects: dict[str, bytes], door: Door) -> None:
        self._objects, self._door = objects, door

    def put_object(self, **request: Any) -> None:
        """Park a change."""
        only_new = request["IfNoneMatch"] == "*"

        def put() -> None:
            if only_new and request["Key"] in self._objects:
                raise refusal("PreconditionFailed", "PutObject")
            self._objects[request["Key"]] = request["Body"]

        self._door(f"park {request['Body'].decode()}", put)
