"""Tables with a stream: made here, or there already."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, cast

import pulumi
import pulumi_aws as aws

from infra import filters
from infra.encryption import EncryptionKey
from infra.filters import EventName, Test
from infra.guard import check_name
from infra.resource import TABLE
from infra.settings import Settings

ViewType = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]
KeyType = type[str] | type[int] | type[Decimal] | type[bytes]
Key = str | tuple[str, KeyType]
"""A key attribute's name, a string unless a type stands beside it."""

HAS_NEW = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
HAS_OLD = ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")


@dataclass(frozen=True, eq=False)
class Table:
    """A table and its stream, whoever made them: what consumers read and grants are about."""

    name: str  # in the program; what AWS calls it is `table_name`
    table_name: pulumi.Output[str]
    arn: pulumi.Output[str]
    stream_arn: pulumi.Output[str]
    keys: Mapping[str, str]  # attribute to the key of its type, S, N or B
    view_type: ViewType
    protect: bool
    key_arn: pulumi.Input[str] | None = None  # of the key that encrypts it, where that is no key of DynamoDB's own
    former_names: Sequence[str] = ()
    readers: list[str] = field(default_factory=list[str])

    @property
    def outputs(self) -> dict[str, pulumi.Output[str]]:
        """What a tool needs to find it."""
        return {"name": self.table_name, "arn": self.arn, "streamArn": self.stream_arn}

    def changes(
        self,
        *events: EventName,
        keys: Mapping[str, Test] | None = None,
        new: Mapping[str, Test] | None = None,
        old: Mapping[str, Test] | None = None,
    ) -> "Changes":
        """The changes whose event is one of `events` and that pass every test; all of them where nothing is said.

        Raises
        ------
        pulumi.RunError
            The filter could never match.
        """
        keys, new, old = keys or {}, new or {}, old or {}
        for image, tests, views, lacking in (("new", new, HAS_NEW, "REMOVE"), ("old", old, HAS_OLD, "INSERT")):
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
        return Changes(self, filters.pattern(events, keys, new, old))


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
    encryption_key
        What encrypts it and its stream; a key of AWS's own unless given.
    protect
        Keep the table, and the consumers that read it, from being deleted.
    opts
        Aliases, where it has another name in the program now, reach its consumers' mappings too.
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
        encryption_key: EncryptionKey | None = None,
        protect: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        check_name(TABLE, f"{name}-table")
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:StreamTable", name, {}, opts)
        keys = dict(_typed(part) for part in (key, sort) if part is not None)
        hash_key, *range_key = keys
        key_arn = encryption_key.arn if encryption_key else None
        made = aws.dynamodb.Table(
            f"{name}-table",
            attributes=[{"name": attribute, "type": kind} for attribute, kind in keys.items()],
            hash_key=hash_key,
            range_key=range_key[0] if range_key else None,
            billing_mode="PAY_PER_REQUEST",  # no capacity to guess, and none to throttle the writers
            stream_enabled=True,
            stream_view_type=view_type,
            ttl={"attribute_name": ttl, "enabled": True} if ttl else None,
            point_in_time_recovery={"enabled": True},  # a consumer's mistake, or one's own, can be undone
            server_side_encryption={"enabled": True, "kms_key_arn": key_arn} if key_arn else None,
            deletion_protection_enabled=protect,
            opts=pulumi.ResourceOptions(
                parent=self, hooks=pulumi.ResourceHookBinding(before_update=[guard_stream(name)])
            ),
        )
        former = list(_former_names(opts))
        self.table = Table(name, made.name, made.arn, made.stream_arn, keys, view_type, protect, key_arn, former)
        self.changes = self.table.changes
        self.register_outputs(self.table.outputs)

    @staticmethod
    def existing(name: str, *, table_name: str, protect: bool = False) -> Table:
        """A table that someone else made, its stream read as it is; creates nothing.

        Raises
        ------
        pulumi.RunError
            There is no such table, or it has no stream; the message says how to switch it on.
        """
        try:
            found = aws.dynamodb.get_table(name=table_name)
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
        return Table(
            name,
            pulumi.Output.from_input(found.name),
            pulumi.Output.from_input(found.arn),
            pulumi.Output.from_input(found.stream_arn),
            {attribute: kinds[attribute] for attribute in names},
            cast("ViewType", found.stream_view_type),
            protect,
            encrypted.kms_key_arn or None if encrypted else None,
        )


def guard_stream(table: str) -> pulumi.ResourceHook:
    """Refuses another view type, in preview too, until the stack file says that the stream which it ends is drained."""
    drained = Settings.load().drained

    def check(args: pulumi.ResourceHookArgs) -> None:
        old, new = ((inputs or {}).get("streamViewType") for inputs in (args.old_inputs, args.new_inputs))
        stream = (args.old_outputs or {}).get("streamArn")
        if old != new and stream != drained.get(table):
            raise pulumi.RunError(
                f"{table}: view type {new} in place of {old} ends the stream and begins another: nobody reads what the "
                "old one still holds, and no stream has what is written in between. Stop the writers, wait until every "
                "reader's IteratorAge is 0, and confirm with: "
                f"pulumi config set --path 'table-stream:drained.{table}' {stream}"
            )

    return pulumi.ResourceHook(f"{table}-stream", check, pulumi.ResourceHookOptions(on_dry_run=True))


def _former_names(opts: pulumi.ResourceOptions) -> Iterator[str]:
    for alias in opts.aliases or ():
        match alias:
            case pulumi.Alias(name=str(name)):
                yield name
            case str(urn):
                yield urn.rpartition("::")[2]
            case _:  # of another parent or type, by the same name
                pass


def _typed(key: Key) -> tuple[str, str]:
    name, kind = (key, str) if isinstance(key, str) else key
    type_key = filters.TYPE_KEYS.get(kind)
    if type_key not in ("S", "N", "B"):
        raise pulumi.RunError(f"key {name}: a key is a str, int, Decimal or bytes, not {kind.__name__}")
    return name, type_key
