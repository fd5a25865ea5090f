"""A consumer: a function that processes the changes of tables, and all that it needs to do so."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.archive import Package, build
from infra.grants import Grant, Statement
from infra.guard import check_name, judge
from infra.mapping_args import MappingArgs, complete
from infra.modules import module_of
from infra.resource import ROLE
from infra.retries import retry_every_minute
from infra.rules import Level
from infra.settings import Settings, Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, Table, ViewType
from infra.targets import runtime
from infra.wiring import findings, refuse_fifo

Uses = Mapping[str, pulumi.Input[str] | Grant]
"""Environment variables: a value, or a value with rights."""

Destination = aws.lambda_.EventSourceMappingDestinationConfigArgsDict | None

OF_STORES = {"FAILURE_BUCKET", "LEDGER_NAME", "LEDGER_TABLE", "REMEMBER_SECONDS"}
"""The engine's variables that come with the stores, which alone can say how long a claim and a tombstone must last."""

LEDGER_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
"""How a consumer is written, so that a right to what is its own is to nothing else."""

FILTERS = 5
"""Filters of one mapping (Lambda's quota, unless raised)."""

WITHOUT_STORES = (
    "has no stores: a failing change is reported and holds up its shard, a partly failed batch is repeated whole, and "
    "nothing is claimed or parked; give it stores=Stores(...)"
)

ASSUMED_BY_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class StreamConsumer(pulumi.ComponentResource):
    """A function that processes the changes of one or more tables, and all it needs to do so.

    Parameters
    ----------
    name
        `welcome-email` runs handler/welcome_email.py.
    reads
        What of which tables; several of one table are alternatives.
    uses
        Environment variables of the handler's own.
    stores
        Where failures, notes, claims and held changes are kept; the key that encrypts them encrypts log and variables
        too. With them comes a schedule that has held changes tried again every minute. None is allowed where no table
        read is protected, with a warning that says what is given up.
    tuning
        Sizes. The schedule is enabled where the mappings are.
    on_failure
        A queue or topic in place of the failure bucket for what the mapping gives up. It gets a pointer into the stream
        only, which dies with the stream's 24 h.
    needs
        What the handler looks at of each change, beside its keys.
    loops
        Tables among those read that this consumer may write: each write comes back to it as a change.
    mapping_args
        Further arguments of its mappings, by pulumi_aws's names. Those in the place of the engine's own values
        (`bisect_batch_on_function_error`, `maximum_retry_attempts`, `maximum_record_age_in_seconds`) are judged as all
        else is.
    formerly
        The name under which it was first deployed with stores. What it holds, claims and parks stays under that name
        for good, and its resources are taken over. After a second rename, the name in between is an alias in `opts`.

    Raises
    ------
    pulumi.RunError
        The wiring cannot work or is unsafe; the message names the way out.
    """

    name: str
    function: aws.lambda_.Function
    role: aws.iam.Role
    log_group: aws.cloudwatch.LogGroup
    mappings: Mapping[str, aws.lambda_.EventSourceMapping]  # by the table's name in the program
    outputs: dict[str, Any]

    def __init__(
        self,
        name: str,
        *,
        reads: Sequence[Changes],
        uses: Uses,
        stores: Stores | None,
        tuning: Tuning,
        on_failure: aws.sqs.Queue | aws.sns.Topic | None = None,
        needs: ViewType = "KEYS_ONLY",
        loops: Sequence[StreamTable | Table] = (),
        mapping_args: MappingArgs | None = None,
        formerly: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.name = name
        check_name(ROLE, f"{name}-retry-role")  # of its children's names the one nearest to its limit
        module = module_of(name)
        sources = _by_table(name, reads)
        ledger_name = _ledger_name(name, formerly)
        variables = _environment(name, ledger_name, uses, stores, tuning)
        protect = any(table.protect for table in sources)
        target = Settings.load().target  # for what it is built is the program's to say, once for all consumers
        found = findings(
            name,
            sources,
            {variable: value for variable, value in uses.items() if isinstance(value, Grant)},
            tuning,
            mapping_args or {},
            runtime=None if target == "host" else runtime(target),  # the sandbox asks for no support
            destination=bool(stores or on_failure),
            needs=needs,
            loops=[grants.table_of(table) for table in loops],
        )
        without = [] if stores else [(Level.UNSAFE, f"{name} {WITHOUT_STORES}")]
        warnings = judge([*without, *found], protect=protect)
        if stores:
            stores.enter(name, ledger_name)
        for table in sources:
            table.readers.append(name)

        aliases = [pulumi.Alias(name=formerly)] if formerly else None
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None, aliases=aliases))
        super().__init__("table-stream:index:StreamConsumer", name, {}, opts)
        for warning in warnings:
            pulumi.log.warn(warning, self)
        if on_failure is not None:
            fifo = on_failure.fifo_queue if isinstance(on_failure, aws.sqs.Queue) else on_failure.fifo_topic
            fifo.apply(lambda fifo: refuse_fifo(name, fifo=fifo))
        destination, deliver = _destination(on_failure, stores)
        key_arn = stores.key_arn if stores else None
        self.log_group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            retention_in_days=tuning.retention_in_days,
            kms_key_id=key_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=json.dumps(ASSUMED_BY_LAMBDA),
            opts=pulumi.ResourceOptions(parent=self),
        )
        statements = [grants.write_logs(self.log_group.arn), *_rights(ledger_name, sources, stores, deliver)]
        if tuning.tracing:
            statements += [grants.trace()]
        statements += [right for value in uses.values() if isinstance(value, Grant) for right in value.statements]
        policy = aws.iam.RolePolicy(
            f"{name}-policy",
            role=self.role.name,
            policy=grants.policy(statements),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.function = self._function(f"handler.{module}.handler", build(target), variables, tuning, key_arn, policy)
        if key_arn:
            aws.iam.RolePolicy(  # apart from the other rights, which the function waits for: it names the function
                f"{name}-variables",
                role=self.role.name,
                policy=grants.policy([grants.decrypt_variables(key_arn, self.function.arn)]),
                opts=pulumi.ResourceOptions(parent=self),
            )
        if stores:
            retry_every_minute(
                name, self.function, self.role, account=stores.account, enabled=tuning.enabled, parent=self
            )
        self.mappings = {
            table.name: self._mapping(table, patterns, destination, tuning, complete(mapping_args or {}), policy)
            for table, patterns in sources.items()
        }
        self.outputs = {
            "function": self.function.name,
            "functionArn": self.function.arn,
            "role": self.role.name,
            "logGroup": self.log_group.name,
            "mappings": {table: mapping.uuid for table, mapping in self.mappings.items()},
        }
        if stores:
            self.outputs["ledgerName"] = ledger_name
        self.register_outputs(self.outputs)

    def _function(
        self,
        handler: str,
        package: Package,
        variables: Mapping[str, pulumi.Input[str]],
        tuning: Tuning,
        key_arn: pulumi.Input[str] | None,
        policy: pulumi.Resource,
    ) -> aws.lambda_.Function:
        return aws.lambda_.Function(
            f"{self.name}-function",
            role=self.role.arn,
            handler=handler,
            code=pulumi.FileArchive(str(package.path)),
            source_code_hash=package.sha256,
            runtime=package.runtime,
            architectures=[package.architecture],
            memory_size=tuning.memory_size,
            timeout=tuning.timeout,
            environment={"variables": variables},
            kms_key_arn=key_arn,
            logging_config={"log_format": "JSON", "log_group": self.log_group.name},
            tracing_config={"mode": "Active"} if tuning.tracing else None,
            # Lambda refuses to trace for a role that may not.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

    def _mapping(
        self,
        table: Table,
        patterns: Sequence[str],
        destination: Destination,
        tuning: Tuning,
        further: MappingArgs,
        policy: pulumi.Resource,
    ) -> aws.lambda_.EventSourceMapping:
        return aws.lambda_.EventSourceMapping(
            f"{self.name}-{table.name}",
            event_source_arn=table.stream_arn,
            function_name=self.function.name,
            filter_criteria={"filters": [{"pattern": pattern} for pattern in patterns]} if patterns else None,
            function_response_types=["ReportBatchItemFailures"],
            destination_config=destination,
            enabled=tuning.enabled,
            starting_position=tuning.starting_position,
            batch_size=tuning.batch_size,
            maximum_batching_window_in_seconds=tuning.maximum_batching_window_in_seconds,
            parallelization_factor=tuning.parallelization_factor,
            **further,
            # A new mapping of the same stream and function is refused while the old one is there; and the role's rights
            # are checked when it is made. Another view type is another stream, whose ARN no preview knows: only the
            # trigger shows there that the mapping is replaced.
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,
                depends_on=[policy],
                replacement_trigger=table.view_type,
                aliases=[pulumi.Alias(name=f"{self.name}-{former}") for former in table.former_names],
            ),
        )


def _by_table(consumer: str, reads: Sequence[Changes]) -> dict[Table, list[str]]:
    """Filter patterns of each table; none where one of its alternatives lets everything through."""
    if not reads:
        raise pulumi.RunError(f"{consumer} reads nothing: name changes, as in reads=[users.changes()]")
    alternatives: dict[Table, list[str]] = {}
    for changes in reads:
        alternatives.setdefault(changes.table, []).append(changes.pattern)
    sources = {table: patterns if all(patterns) else [] for table, patterns in alternatives.items()}
    for table, patterns in sources.items():
        if len(patterns) > FILTERS:
            raise pulumi.RunError(
                f"{consumer} has {len(patterns)} filters on {table.name}: Lambda takes {FILTERS} a mapping; join some, "
                "or filter in the handler"
            )
    return sources


def _ledger_name(consumer: str, formerly: str | None) -> str:
    """The consumer's name in ledger and failure bucket."""
    if formerly is None:
        return consumer
    if not LEDGER_NAME.fullmatch(formerly) or formerly == consumer:
        raise pulumi.RunError(
            f"{consumer} was formerly {formerly!r}: not the name of another consumer, as in formerly='order-mirror'"
        )
    return formerly


def _rights(
    ledger_name: str,
    sources: Iterable[Table],
    stores: Stores | None,
    deliver: Sequence[pulumi.Input[Statement | None]],
) -> Iterator[pulumi.Input[Statement | None]]:
    """What the mappings and the engine may do."""
    for table in sources:
        yield from grants.read_stream(table)
    yield from deliver
    if stores:
        yield from grants.keep_ledger(ledger_name, stores.ledger.arn)
        yield grants.park_failures(ledger_name, stores.bucket.arn)
    if stores and stores.key_arn:
        yield from grants.use_stores_key(stores.key_arn)


def _environment(
    consumer: str, ledger_name: str, uses: Uses, stores: Stores | None, tuning: Tuning
) -> dict[str, pulumi.Input[str]]:
    """The function's variables: the engine's, which handler.stream reads, and the handler's own."""
    engine: dict[str, pulumi.Input[str]] = {
        "POWERTOOLS_SERVICE_NAME": consumer,
        "POWERTOOLS_METRICS_NAMESPACE": pulumi.get_project(),
        "GIVE_UP_AFTER_SECONDS": str(tuning.give_up_after),
        "BATCHING_WINDOW_SECONDS": str(tuning.maximum_batching_window_in_seconds),
        "HANDLER_TIMEOUT_SECONDS": str(tuning.handler_timeout),
        "WORKERS": str(tuning.workers),
    }
    if stores:
        engine["FAILURE_BUCKET"] = stores.bucket.bucket
        engine["LEDGER_TABLE"] = stores.ledger.name
        engine["LEDGER_NAME"] = ledger_name
        engine["REMEMBER_SECONDS"] = str(stores.remember_seconds(tuning.give_up_after))
    if tuning.tracing:
        engine["TRACING"] = "true"
    if taken := sorted(({*engine} | OF_STORES) & uses.keys()):
        raise pulumi.RunError(f"{consumer} uses {', '.join(taken)}: the engine's own; take another name")
    own = {variable: value.value if isinstance(value, Grant) else value for variable, value in uses.items()}
    return engine | own


def _destination(
    on_failure: aws.sqs.Queue | aws.sns.Topic | None, stores: Stores | None
) -> tuple[Destination, Sequence[pulumi.Input[Statement | None]]]:
    """Where the mapping puts what it gives up, and the rights it needs there."""
    match on_failure:
        case aws.sqs.Queue(arn=arn, kms_master_key_id=key):
            rights = [grants.allow(["sqs:SendMessage"], [arn]), grants.use_destination_key(arn, key)]
        case aws.sns.Topic(arn=arn, kms_master_key_id=key):
            rights = [grants.allow(["sns:Publish"], [arn]), grants.use_destination_key(arn, key)]
        case None if stores:
            arn, rights = stores.bucket.arn, grants.deliver_failures(stores.bucket.arn, stores.account)
        case None:
            return None, []
    return {"on_failure": {"destination_arn": arn}}, rights
