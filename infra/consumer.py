"""A consumer: a function that processes the changes of tables, and all that it needs to do so."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.archive import Package
from infra.grants import Grant, Statement
from infra.internal import passed_arguments
from infra.internal.consumer_args import (
    FUNCTION_OWNED,
    MAPPING_DEFAULTS,
    MAPPING_OWNED,
    Environment,
    inputs_for_rules,
    refusals,
)
from infra.internal.passed_arguments import PassedArgs
from infra.internal.registry import Children
from infra.internal.retries import retry_every_minute
from infra.internal.role_policies import RolePolicies
from infra.rules.view import CONSUMER
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, Table, ViewType

Destination = aws.lambda_.EventSourceMappingDestinationConfigArgsDict | None

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
    environment
        Environment variables of the handler's own.
    stores
        Where failures, notes, claims and held changes are kept; the key that encrypts them encrypts log and variables
        too. With them comes a schedule that has held changes tried again every minute. None is allowed where no table
        read is protected, with a warning that says what is given up.
    tuning
        Sizes. The schedule is enabled where the mappings are.
    package
        The code, from `infra.archive.build`: one for all consumers of a program.
    on_failure
        A queue or topic in place of the failure bucket for what the mapping gives up. It gets a pointer into the stream
        only, which dies with the stream's 24 h.
    images
        What the handler looks at of each change, beside its keys.
    allow_writes_to
        Tables among those read that this consumer may write: each write comes back to it as a change.
    mapping_args
        Further arguments of its mappings, by pulumi_aws's names. Those in the place of the engine's own values
        (`bisect_batch_on_function_error`, `maximum_retry_attempts`, `maximum_record_age_in_seconds`) are judged as all
        else is.
    function_args
        Further arguments of its function, by pulumi_aws's names: `vpc_config`, whose rights come with it, layers,
        reserved concurrency, ephemeral storage, SnapStart, and of `logging_config` the levels. With `snap_start` a
        version is published at each update, and the mappings invoke it.
    former_name
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
        environment: Environment,
        stores: Stores | None,
        tuning: Tuning,
        package: Package,
        on_failure: aws.sqs.Queue | aws.sns.Topic | None = None,
        images: ViewType = "KEYS_ONLY",
        allow_writes_to: Sequence[StreamTable | Table] = (),
        mapping_args: PassedArgs | None = None,
        function_args: PassedArgs | None = None,
        former_name: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.name = name
        sources = _by_table(name, reads)
        protect = any(table.protect for table in sources)
        aliases = [pulumi.Alias(name=former_name)] if former_name else None
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None, aliases=aliases))
        super().__init__(CONSUMER, name, {}, opts)

        granted = {variable: value for variable, value in environment.items() if isinstance(value, Grant)}
        self._children = Children(self, protect=protect, sandbox_only=package.target == "host")
        self._children.registry.refuse(
            refusals(name, package, sources, environment, former_name, mapping_args, function_args)
        )
        told = inputs_for_rules(
            sources, granted.values(), stores, images, [grants.table_of(table) for table in allow_writes_to]
        )
        self._children.describe(self, told)
        ledger_name = former_name or name
        if stores:
            stores.register_consumer(name, ledger_name)
        key_arn = stores.key_arn if stores else None
        further_of_function = passed_arguments.accepted(aws.lambda_.FunctionArgs, function_args or {}, FUNCTION_OWNED)

        self.log_group = self._children.make(
            aws.cloudwatch.LogGroup,
            f"{name}-logs",
            retention_in_days=tuning.retention_in_days,
            kms_key_id=key_arn,
        )
        self.role = self._children.make(aws.iam.Role, f"{name}-role", assume_role_policy=json.dumps(ASSUMED_BY_LAMBDA))
        if on_failure is not None:
            fifo = on_failure.fifo_queue if isinstance(on_failure, aws.sqs.Queue) else on_failure.fifo_topic
            given = {"fifo_queue" if isinstance(on_failure, aws.sqs.Queue) else "fifo_topic": fifo}
            self._children.describe(on_failure, {"name": on_failure.name, **given})
        destination, deliver = _destination(on_failure, stores)
        statements = [grants.write_logs(self.log_group.arn), *_statements(ledger_name, sources, stores, deliver)]
        if tuning.tracing:
            statements += [grants.trace()]
        if further_of_function.get("vpc_config"):
            statements += [grants.join_network()]
        statements += [right for grant in granted.values() for right in grant.statements]
        policies = RolePolicies(name, self.role, self._children)
        policy = policies.add("policy", statements)
        variables = _variables(name, ledger_name, environment, stores, tuning)
        self.function = self._function(package, variables, tuning, key_arn, policy, further_of_function)
        needed = [policy]  # by the function's first invocation; the function itself is made before these can be
        if key_arn:
            needed += [policies.add("variables", [grants.decrypt_variables(key_arn, self.function.arn)])]
        if stores:
            needed += [policies.add("helpers", [grants.invoke(self.function.arn)])]
        policies.exclude_others("role")
        if stores:
            retry_every_minute(
                *(name, self.function),
                account=stores.account,
                enabled=tuning.enabled,
                children=self._children,
                depends_on=needed,
            )
        of_filters = {"kms_key_arn": key_arn} if key_arn and any(sources.values()) else {}  # they hold values of items
        further_of_mapping = {
            **MAPPING_DEFAULTS,
            **of_filters,
            **passed_arguments.accepted(aws.lambda_.EventSourceMappingArgs, mapping_args or {}, MAPPING_OWNED),
        }
        invoked = self.function.qualified_arn if further_of_function.get("snap_start") else self.function.name
        self.mappings = {
            table.name: self._mapping(table, patterns, invoked, destination, tuning, further_of_mapping, needed)
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
        self._children.registry.check()

    def _function(
        self,
        package: Package,
        variables: Mapping[str, pulumi.Input[str]],
        tuning: Tuning,
        key_arn: pulumi.Input[str] | None,
        policy: pulumi.Resource,
        given: PassedArgs,
    ) -> aws.lambda_.Function:
        levels: Any = given.get("logging_config")
        logging: Any = dict(cast("dict[str, Any]", levels)) if isinstance(levels, dict) else {}
        logging |= {"log_format": "JSON", "log_group": self.log_group.name}
        return self._children.make(
            aws.lambda_.Function,
            f"{self.name}-function",
            role=self.role.arn,
            handler=f"handler.{self.name.replace('-', '_')}.handler",
            code=pulumi.FileArchive(str(package.path)),
            code_sha256=package.sha256,  # shows code that was replaced by hand
            runtime=package.runtime,
            architectures=[package.architecture],
            memory_size=tuning.memory_size,
            timeout=tuning.timeout,
            environment={"variables": variables},
            kms_key_arn=key_arn,
            tracing_config={"mode": "Active" if tuning.tracing else "PassThrough"},
            publish=True if given.get("snap_start") else None,  # SnapStart is for published versions only
            logging_config=logging,
            **{key: value for key, value in given.items() if key != "logging_config"},
            # Lambda refuses to trace for a role that may not.
            opts=pulumi.ResourceOptions(depends_on=[policy]),
        )

    def _mapping(
        self,
        table: Table,
        patterns: Sequence[str],
        invoked: pulumi.Input[str],
        destination: Destination,
        tuning: Tuning,
        given: PassedArgs,
        needed: Sequence[pulumi.Resource],
    ) -> aws.lambda_.EventSourceMapping:
        return self._children.make(
            aws.lambda_.EventSourceMapping,
            f"{self.name}-{table.name}",
            event_source_arn=table.stream_arn,
            function_name=invoked,
            filter_criteria={"filters": [{"pattern": pattern} for pattern in patterns]} if patterns else None,
            function_response_types=["ReportBatchItemFailures"],
            destination_config=destination,
            enabled=tuning.enabled,
            starting_position=tuning.starting_position,
            batch_size=tuning.batch_size,
            maximum_batching_window_in_seconds=tuning.maximum_batching_window_in_seconds,
            parallelization_factor=tuning.parallelization_factor,
            **given,
            # No stream is read before the rules have judged the program, and before the function has all its rights. A
            # new mapping of the same stream and function is refused while the old one is there. Another view type is
            # another stream, whose ARN no preview knows: only the trigger shows there that the mapping is replaced.
            opts=pulumi.ResourceOptions(
                depends_on=self._children.registry.once_checked(*needed),
                delete_before_replace=True,
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
    return {table: patterns if all(patterns) else [] for table, patterns in alternatives.items()}


def _statements(
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


def _variables(
    consumer: str, ledger_name: str, environment: Environment, stores: Stores | None, tuning: Tuning
) -> dict[str, pulumi.Input[str]]:
    """The function's variables: the engine's, which handler.stream reads, and the handler's own."""
    variables: dict[str, pulumi.Input[str]] = {
        "POWERTOOLS_SERVICE_NAME": consumer,
        "POWERTOOLS_METRICS_NAMESPACE": pulumi.get_project(),
        "GIVE_UP_AFTER_SECONDS": str(tuning.give_up_after),
        "BATCHING_WINDOW_SECONDS": str(tuning.maximum_batching_window_in_seconds),
        "HANDLER_TIMEOUT_SECONDS": str(tuning.handler_timeout),
        "WORKERS": str(tuning.workers),
    }
    if stores:
        variables["FAILURE_BUCKET"] = stores.bucket.bucket
        variables["LEDGER_TABLE"] = stores.ledger.name
        variables["LEDGER_NAME"] = ledger_name
        variables["REMEMBER_SECONDS"] = str(stores.remember_seconds(tuning.give_up_after))
    if tuning.tracing:
        variables["TRACING"] = "true"
    own = {variable: value.value if isinstance(value, Grant) else value for variable, value in environment.items()}
    return own | variables


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
