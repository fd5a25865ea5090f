"""The component StreamTable, and tables with a stream that exist already."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast, get_args

import pulumi
import pulumi_aws as aws

from infra import filters
from infra.encryption import EncryptionKey, encrypted_with
from infra.filters import EventName, Test
from infra.internal import passed_arguments
from infra.internal.passed_arguments import PassedArgs
from infra.internal.registry import Children, Registry
from infra.internal.updates import guard_updates
from infra.rules.view import ResourceView, Type

ViewType = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]
VIEW_TYPES: tuple[ViewType, ...] = get_args(ViewType)
KeyType = type[str] | type[int] | type[Decimal] | type[bytes]
Key = str | tuple[str, KeyType]
"""The name of a key attribute of type string, or its name and type."""

STREAM_ARN = re.compile(r"(?P<table>arn:[^:]+:dynamodb:[a-z0-9-]+:\d{12}:table/[^/]+)/stream/[^/]+")

VIEWS_WITH_NEW = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
VIEWS_WITH_OLD = ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")


OWNED = {
    "hash_key": "key= names it",
    "range_key": "sort= names it",
    "stream_enabled": "a StreamTable's stream is always on",
    "stream_view_type": "view_type= sets it",
    "ttl": "ttl= names its attribute",
    "server_side_encryption": "encryption_key= sets it",
    "deletion_protection_enabled": "protect= sets it",
    "region": "the provider's Region is that of the whole pipeline",
}
"""Arguments of a table that the component sets, and what sets them."""


@dataclass(eq=False, repr=False)
class Table:
    """A table with a stream, of this program or another. Consumers read it, and grants name it."""

    name: str  # in the program; `table_name` is the physical name
    table_name: pulumi.Input[str]
    arn: pulumi.Input[str]
    stream_arn: pulumi.Input[str]
    keys: Mapping[str, str]  # the types (S, N or B) of the key attributes by name
    view_type: ViewType
    protect: bool
    key_arn: pulumi.Input[str] | None = None  # of the key that encrypts the table, unless DynamoDB owns the key
    former_names: Sequence[str] = ()
    has_indexes: bool = False
    in_this_account: bool = True  # CloudWatch has metrics of this account's tables only

    @property
    def outputs(self) -> dict[str, pulumi.Input[str]]:
        """The name and the ARNs, for tools that find the table by the stack's outputs."""
        return {"name": self.table_name, "arn": self.arn, "streamArn": self.stream_arn}

    def changes(
        self,
        *events: EventName,
        keys: Mapping[str, Test] | None = None,
        new: Mapping[str, Test] | None = None,
        old: Mapping[str, Test] | None = None,
        expired: bool | None = None,
    ) -> "Changes":
        """Return the changes whose event is one of `events` and that pass every test. The default is all changes.

        `expired=True` selects the removals by DynamoDB's time to live, and False selects all other changes.

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
    """The changes of one table that a consumer reads."""

    table: Table
    pattern: str  # a filter pattern of AWS; empty for every change


class StreamTable(pulumi.ComponentResource, Table):
    """A table of this program, with its stream.

    Parameters
    ----------
    key, sort
        Partition and sort key: `"id"` is a string, `("n", int)` a number.
    view_type
        The images in each change. The default is both, since an image that the stream omits cannot be had later.
    ttl
        The attribute with the epoch second after which DynamoDB deletes an item. The default is no time to live.
    former_ttl
        The attribute of the time to live that this update switches off, which AWS requires. Remove it afterwards.
    encryption_key
        The key that encrypts the table and its stream. The default is a key that DynamoDB owns.
    protect
        Protect the table, and the consumers that read it, from deletion.
    confirmed_drained
        The ARN of the drained stream that may end. The refusal of another view type says when to set it.
    table_args
        Additional arguments for the table, by the names of pulumi_aws: secondary indexes (with `attributes` for their
        keys), replicas, the recovery period, on-demand and warm throughput, table class, tags, import from S3.
    opts
        Aliases for former names in the program also apply to the mappings of the table's consumers.

    Raises
    ------
    pulumi.RunError
        DynamoDB has no key of this type, or a rule refuses the table.
    """

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
        table_args, table_type = table_args or {}, aws.dynamodb.TableArgs
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:StreamTable", name, {}, opts)
        if mistakes := list(passed_arguments.choice_refusals(name, "view_type", view_type, VIEW_TYPES)):
            raise pulumi.RunError("\n".join(mistakes))
        children = Children(self, protect=bool(opts.protect))
        keys, (hash_key, *range_key) = _keys(name, key, sort)
        children.registry.refuse(passed_arguments.refusals(name, "table_args", table_type, table_args, OWNED))
        accepted = passed_arguments.accepted(table_type, table_args, OWNED)
        ttl_attribute = former_ttl if ttl is None else ttl
        attributes = [{"name": attribute, "type": kind} for attribute, kind in keys.items()]
        # The provider keeps the old value of some omitted arguments, so each has a value.
        args: dict[str, Any] = {
            "billing_mode": "PAY_PER_REQUEST",  # no capacity to plan, and none that would throttle the writers
            "point_in_time_recovery": {"enabled": True},  # to undo mistakes of consumers and operators
            "server_side_encryption": encrypted_with(encryption_key),
            "ttl": {"enabled": ttl is not None} | ({} if ttl_attribute is None else {"attribute_name": ttl_attribute}),
            "deletion_protection_enabled": protect,
            **accepted,
            "attributes": [*attributes, *(accepted.get("attributes") or ())],
        }
        table = children.make(
            aws.dynamodb.Table,
            f"{name}-table",
            hash_key=hash_key,
            range_key=range_key[0] if range_key else None,
            stream_enabled=True,
            stream_view_type=view_type,
            **args,
            opts=pulumi.ResourceOptions(
                hooks=pulumi.ResourceHookBinding(before_update=[guard_updates(name, confirmed_drained)]),
                # AWS cannot change a key's type, and the provider does not notice the change.
                replacement_trigger=json.dumps(keys),
            ),
        )
        Table.__init__(
            *(self, name, table.name, table.arn, table.stream_arn, keys, view_type, protect),
            key_arn=encryption_key.arn if encryption_key else None,
            former_names=list(_former_names(opts)),
            has_indexes=any(accepted.get(f"{kind}_secondary_indexes") for kind in ("global", "local")),
        )
        self.register_outputs(self.outputs)
        children.registry.check()

    @staticmethod
    def existing(
        name: str, *, table_name: str, protect: bool = False, opts: pulumi.InvokeOptions | None = None
    ) -> Table:
        """Return a table of another program, with the stream that it has. This creates nothing.

        Raises
        ------
        pulumi.RunError
            The table does not exist or has no stream. The message says how to switch the stream on.
        """
        try:
            table = aws.dynamodb.get_table(name=table_name, opts=opts)
        except Exception as error:  # the SDK raises no narrower exception
            raise pulumi.RunError(f"{name}: table {table_name} cannot be read: {error}") from error
        if not table.stream_enabled:
            raise pulumi.RunError(
                f"{name}: table {table_name} has no stream; switch it on with: aws dynamodb update-table --table-name "
                f"{table_name} --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
            )
        names = [table.hash_key] + ([table.range_key] if table.range_key else [])
        encryption = table.server_side_encryption
        kinds = {attribute.name: attribute.type for attribute in table.attributes}
        ttl = {"enabled": table.ttl.enabled, "attributeName": table.ttl.attribute_name} if table.ttl else None
        replicas = [{"regionName": replica.region_name} for replica in table.replicas or ()]
        _describe_existing(name, table.arn, names, kinds, table.stream_view_type, ttl=ttl, replicas=replicas)
        return Table(
            *(name, table.name, table.arn, table.stream_arn),
            {attribute: kinds[attribute] for attribute in names},
            cast("ViewType", table.stream_view_type),
            protect,
            key_arn=encryption.kms_key_arn or None if encryption else None,
            has_indexes=bool(table.global_secondary_indexes or table.local_secondary_indexes),
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
        """Return a table of another account in this Region, whose owner allows this account to read the stream.

        Lambda supports mappings of another account's stream since January 2026 (process DynamoDB records,
        cross-account). A preview cannot read the table, so the keys, the view type and the key's ARN are parameters.

        Raises
        ------
        pulumi.RunError
            `stream_arn` is not the ARN of a stream.
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
        # Calls of DynamoDB name a table of another account by its ARN.
        return Table(
            *(name, match["table"], match["table"], stream_arn, keys, view_type, protect),
            key_arn=key_arn,
            in_this_account=False,
        )


def _describe_existing(
    name: str, arn: str, keys: Sequence[str], attributes: Mapping[str, str], view_type: str, **more: Any
) -> None:
    """Show the rules a table of another program, with inputs like those of a table of this program."""
    hash_key, *range_key = keys
    inputs = {
        "arn": arn,
        "hashKey": hash_key,
        "rangeKey": range_key[0] if range_key else None,
        "attributes": [{"name": each, "type": kind} for each, kind in attributes.items()],
        "streamViewType": view_type,
        **more,
    }
    Registry.of_this_run().existing.append(ResourceView(Type.EXISTING_TABLE, name, inputs))


def _former_names(opts: pulumi.ResourceOptions) -> Iterator[str]:
    for alias in opts.aliases or ():
        match alias:
            case pulumi.Alias(name=str(name)):
                yield name
            case str(urn):
                yield urn.rpartition("::")[2]
            case _:  # another parent or type, the same name
                pass


def _keys(table: str, key: Key, sort: Key | None) -> tuple[dict[str, str], list[str]]:
    """Return the types of the key attributes by name, and all names: by mistake, both may be the same."""
    typed = [(part, str) if isinstance(part, str) else part for part in (key, sort) if part is not None]
    for name, kind in typed:
        if filters.TYPE_KEYS.get(kind) not in ("S", "N", "B"):
            raise pulumi.RunError(f"{table}: key {name}: a key is a str, int, Decimal or bytes, not {kind.__name__}")
    return {name: filters.TYPE_KEYS[kind] for name, kind in typed}, [name for name, _ in typed]
