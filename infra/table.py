"""Tables with a stream: made here, or there already."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast

import pulumi
import pulumi_aws as aws

from infra import filters
from infra.encryption import EncryptionKey, encrypted_with
from infra.filters import EventName, Test
from infra.internal import passed_arguments
from infra.internal.passed_arguments import PassedArgs
from infra.internal.registry import Children, Registry
from infra.internal.updates import guard_updates
from infra.rules.view import EXISTING_TABLE, ResourceView

ViewType = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]
KeyType = type[str] | type[int] | type[Decimal] | type[bytes]
Key = str | tuple[str, KeyType]
"""A key attribute's name, a string unless a type stands beside it."""

STREAM_ARN = re.compile(r"(?P<table>arn:[^:]+:dynamodb:[a-z0-9-]+:\d{12}:table/[^/]+)/stream/[^/]+")

VIEWS_WITH_NEW = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
VIEWS_WITH_OLD = ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")


OWNED = {
    "hash_key": "key= names it",
    "range_key": "sort= names it",
    "stream_enabled": "a StreamTable's stream is always on",
    "stream_view_type": "view_type= names it",
    "ttl": "ttl= names its attribute",
    "server_side_encryption": "encryption_key= sets it",
    "deletion_protection_enabled": "protect= sets it",
    "region": "the provider's Region is that of the whole pipeline",
}
"""Arguments of a table that the component sets, and what sets them."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table and its stream, whoever made them: what consumers read and grants are about."""

    name: str  # in the program; what AWS calls it is `table_name`
    table_name: pulumi.Input[str]
    arn: pulumi.Input[str]
    stream_arn: pulumi.Input[str]
    keys: Mapping[str, str]  # attribute to the key of its type, S, N or B
    view_type: ViewType
    protect: bool
    key_arn: pulumi.Input[str] | None = None  # of the key that encrypts it, where that is no key of DynamoDB's own
    former_names: Sequence[str] = ()
    has_indexes: bool = False

    @property
    def outputs(self) -> dict[str, pulumi.Input[str]]:
        """What a tool needs to find it."""
        return {"name": self.table_name, "arn": self.arn, "streamArn": self.stream_arn}

    def changes(
        self,
        *events: EventName,
        keys: Mapping[str, Test] | None = None,
        new: Mapping[str, Test] | None = None,
        old: Mapping[str, Test] | None = None,
        expired: bool | None = None,
    ) -> "Changes":
        """The changes whose event is one of `events` and that pass every test; all of them where nothing is said.

        `expired` chooses the removals that DynamoDB's time to live makes, or with False all other changes.

        Raises
        ------
        pulumi.RunError
            The filter could never match.
        """
        keys, new, old = keys or {}, new or {}, old or {}
        for image, tests, views, lacking in (
            ("new", new, VIEWS_WITH_NEW, "REMOVE"),
            ("old", old, VIEWS_WITH_OLD, "INSERT"),
        ):
            if tests and self.view_type not in views:
                raise pulumi.RunError(
                    f"{self.name}: a filter on the {image} image never matches: its stream's view type is "
                    f"{self.view_type}; take {' or '.join(views)}"
                )
            if tests and set(events) == {lacking}:
                raise pulumi.RunError(f"{self.name}: a filter on the {image} image never matches: {lacking} has none")
        for name, test in keys.items():
            if name not in self.keys:
                raise pulumi.RunError(f"{self.name}: {name} is no key; its keys are {', '.join(self.keys)}")
            if filters.type_key(name, test) != self.keys[name]:
                raise pulumi.RunError(
                    f"{self.name}: a test of {name} never matches: the key's type is {self.keys[name]}"
                )
        return Changes(self, filters.pattern(events, keys, new, old, expired=expired))


@dataclass(frozen=True)
class Changes:
    """Changes of one table that a consumer reads."""

    table: Table
    pattern: str  # a filter as AWS takes it; empty for every change


class StreamTable(pulumi.ComponentResource):
    """A table of one's own, its stream switched on.

    Parameters
    ----------
    key, sort
        Partition and sort key: `"id"` is a string, `("n", int)` a number.
    view_type
        What a change carries; both images unless there is a reason, since what a stream leaves out cannot be had later.
    ttl
        Attribute holding the epoch second after which DynamoDB deletes an item; none unless named.
    former_ttl
        The attribute of a time to live that this update switches off: AWS asks for it. Leave it out afterwards.
    encryption_key
        What encrypts it and its stream; a key of AWS's own unless given.
    protect
        Keep the table, and the consumers that read it, from being deleted.
    confirmed_drained
        The ARN of its stream that is drained and may end, as the refusal of another view type says.
    table_args
        Further arguments of the table, by pulumi_aws's names: secondary indexes (with `attributes` for their keys),
        replicas, point-in-time recovery's period, on-demand and warm throughput, table class, tags, import from S3.
    opts
        Aliases, where it has another name in the program now, reach its consumers' mappings too.

    Raises
    ------
    pulumi.RunError
        A key's type is none that DynamoDB has, or what the rules refuse.
    """

    table: Table

    def __init__(
        self,
        name: str,
        *,
        key: Key,
        sort: Key | None = None,
        view_type: ViewType = "NEW_AND_OLD_IMAGES",
        ttl: str | None = None,
        former_ttl: str | None = None,
        encryption_key: EncryptionKey | None = None,
        protect: bool = False,
        confirmed_drained: str | None = None,
        table_args: PassedArgs | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        given = table_args or {}
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:StreamTable", name, {}, opts)
        children = Children(self, protect=bool(opts.protect))
        keys, (hash_key, *range_key) = _keys(name, key, sort)
        children.registry.refuse(passed_arguments.refusals(name, "table_args", aws.dynamodb.TableArgs, given, OWNED))
        passed_on = passed_arguments.accepted(aws.dynamodb.TableArgs, given, OWNED)
        expires = former_ttl if ttl is None else ttl
        attributes = [{"name": attribute, "type": kind} for attribute, kind in keys.items()]
        # The provider keeps the old value of some arguments when they are left out, so each is always given.
        args: dict[str, Any] = {
            "billing_mode": "PAY_PER_REQUEST",  # no capacity to guess, and none to throttle the writers
            "point_in_time_recovery": {"enabled": True},  # a consumer's mistake, or one's own, can be undone
            "server_side_encryption": encrypted_with(encryption_key),
            "ttl": {"enabled": ttl is not None} | ({} if expires is None else {"attribute_name": expires}),
            "deletion_protection_enabled": protect,
            **passed_on,
            "attributes": [*attributes, *(passed_on.get("attributes") or ())],
        }
        made = children.make(
            aws.dynamodb.Table,
            f"{name}-table",
            hash_key=hash_key,
            range_key=range_key[0] if range_key else None,
            stream_enabled=True,
            stream_view_type=view_type,
            **args,
            opts=pulumi.ResourceOptions(
                hooks=pulumi.ResourceHookBinding(before_update=[guard_updates(name, confirmed_drained)]),
                # AWS gives no key another type, and the provider does not see that it has one.
                replacement_trigger=json.dumps(keys),
            ),
        )
        self.table = Table(
            *(name, made.name, made.arn, made.stream_arn, keys, view_type, protect),
            key_arn=encryption_key.arn if encryption_key else None,
            former_names=list(_former_names(opts)),
            has_indexes=any(passed_on.get(f"{kind}_secondary_indexes") for kind in ("global", "local")),
        )
        self.changes = self.table.changes
        self.register_outputs(self.table.outputs)
        children.registry.check()

    @staticmethod
    def existing(
        name: str, *, table_name: str, protect: bool = False, opts: pulumi.InvokeOptions | None = None
    ) -> Table:
        """A table that someone else made, its stream read as it is; creates nothing.

        Raises
        ------
        pulumi.RunError
            There is no such table, or it has no stream; the message says how to switch it on.
        """
        try:
            found = aws.dynamodb.get_table(name=table_name, opts=opts)
        except Exception as error:  # the SDK raises nothing narrower
            raise pulumi.RunError(f"{name}: table {table_name} cannot be read: {error}") from error
        if not found.stream_enabled:
            raise pulumi.RunError(
                f"{name}: table {table_name} has no stream; switch it on with: aws dynamodb update-table --table-name "
                f"{table_name} --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
            )
        names = [found.hash_key] + ([found.range_key] if found.range_key else [])
        encrypted = found.server_side_encryption  # none, whatever its type says, where a key of DynamoDB's own does it
        kinds = {attribute.name: attribute.type for attribute in found.attributes}
        ttl = {"enabled": found.ttl.enabled, "attributeName": found.ttl.attribute_name} if found.ttl else None
        replicas = [{"regionName": replica.region_name} for replica in found.replicas or ()]
        _describe_existing(name, found.arn, names, kinds, found.stream_view_type, ttl=ttl, replicas=replicas)
        return Table(
            *(name, found.name, found.arn, found.stream_arn),
            {attribute: kinds[attribute] for attribute in names},
            cast("ViewType", found.stream_view_type),
            protect,
            key_arn=encrypted.kms_key_arn or None if encrypted else None,
            has_indexes=bool(found.global_secondary_indexes or found.local_secondary_indexes),
        )

    @staticmethod
    def of_another_account(
        name: str,
        *,
        stream_arn: str,
        key: Key,
        sort: Key | None = None,
        view_type: ViewType,
        key_arn: str | None = None,
        protect: bool = False,
    ) -> Table:
        """A table of another account in this Region, whose stream its owner lets this account read.

        Mappings of another account's stream exist since January 2026 (Lambda: process DynamoDB records, cross-account).
        Nothing is read at preview, so the keys, the view type and the key that encrypts it are given.

        Raises
        ------
        pulumi.RunError
            `stream_arn` is no stream's.
        """
        match = STREAM_ARN.fullmatch(stream_arn)
        if not match:
            raise pulumi.RunError(
                f"{name}: {stream_arn} is no stream of a table, as in "
                "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
            )
        keys, names = _keys(name, key, sort)
        pulumi.log.info(
            f"{name}: the owner of {stream_arn} must allow the role of each consumer dynamodb:DescribeStream, "
            "dynamodb:GetRecords and dynamodb:GetShardIterator by a resource policy of the stream"
            + (f", and kms:Decrypt by the policy of {key_arn}" if key_arn else "")
        )
        _describe_existing(name, match["table"], names, keys, view_type)
        # Calls of another account's table name it by its ARN.
        return Table(name, match["table"], match["table"], stream_arn, keys, view_type, protect, key_arn=key_arn)


def _describe_existing(
    name: str, arn: str, keys: Sequence[str], attributes: Mapping[str, str], view_type: str, **more: Any
) -> None:
    """Tell the rules of a table that another program made, in the shape of one that this program makes."""
    hash_key, *range_key = keys
    inputs = {
        "arn": arn,
        "hashKey": hash_key,
        "rangeKey": range_key[0] if range_key else None,
        "attributes": [{"name": each, "type": kind} for each, kind in attributes.items()],
        "streamViewType": view_type,
        **more,
    }
    Registry.of_this_run().existing.append(ResourceView(EXISTING_TABLE, name, inputs))


def _former_names(opts: pulumi.ResourceOptions) -> Iterator[str]:
    for alias in opts.aliases or ():
        match alias:
            case pulumi.Alias(name=str(name)):
                yield name
            case str(urn):
                yield urn.rpartition("::")[2]
            case _:  # of another parent or type, by the same name
                pass


def _keys(table: str, key: Key, sort: Key | None) -> tuple[dict[str, str], list[str]]:
    """Key attributes to the keys of their types; and their names, of which the two may be one by mistake."""
    typed = [(part, str) if isinstance(part, str) else part for part in (key, sort) if part is not None]
    for name, kind in typed:
        if filters.TYPE_KEYS.get(kind) not in ("S", "N", "B"):
            raise pulumi.RunError(f"{table}: key {name}: a key is a str, int, Decimal or bytes, not {kind.__name__}")
    return {name: filters.TYPE_KEYS[kind] for name, kind in typed}, [name for name, _ in typed]
