"""The component StreamConsumer: a function that processes the changes of tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.archive import Package
from infra.grants import Statement
from infra.internal.consumer_args import ConsumerArgs, Environment
from infra.internal.passed_arguments import PassedArgs
from infra.internal.registry import Children
from infra.internal.retries import retry_every_minute
from infra.internal.role_policies import RolePolicies
from infra.rules.view import Type
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, Table, ViewType

Destination = aws.sqs.Queue | aws.sns.Topic

DEFAULT_SIZES = Tuning()

LAMBDA = {"Service": "lambda.amazonaws.com"}
ASSUMED_BY_LAMBDA = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": LAMBDA, "Action": "sts:AssumeRole"}]}
)


class StreamConsumer(pulumi.ComponentResource):
    """A function that processes the changes of one or more tables, and the resources that it needs.

    Parameters
    ----------
    name
        The module in `handler/`, with dashes: `welcome-email` runs handler/welcome_email.py.
    reads
        The changes to process. Several changes of one table are alternatives.
    environment
        Environment variables for the handler.
    stores
        The failure bucket and the ledger. Their key also encrypts the log and the variables. With stores, a schedule
        retries held items every minute. A consumer without stores keeps no failures, notes or claims. The rules warn
        about this, and refuse it if a table that the consumer reads is protected.
    package
        The code, from `infra.archive.build`. All consumers of a program share one package.
    tuning
        Sizes and limits, such as `settings.tuning("welcome-email")` from the stack file. The default is that of each
        field, whatever the stack file has. `enabled` is for the mappings and the schedule.
    on_failure
        A queue or topic as the mappings' on-failure destination, instead of the failure bucket. It receives only
        pointers into the stream, which are of no use after 24 h, when the stream deletes the records.
    images
        The images that the handler uses, besides the keys.
    allow_writes_to
        Tables that the consumer both reads and writes on purpose. Each write is a change that it receives again.
    mapping_args
        Additional arguments for the mappings, by the names of pulumi_aws. They may replace the engine's values
        (`bisect_batch_on_function_error`, `maximum_retry_attempts`, `maximum_record_age_in_seconds`), which the rules
        check.
    function_args
        Additional arguments for the function, by the names of pulumi_aws: `vpc_config` (which adds the permissions for
        it), layers, reserved concurrency, ephemeral storage, SnapStart, and the levels in `logging_config`. With
        `snap_start`, each update publishes a version, and the mappings invoke this version.
    former_name
        The name of the consumer when it was first deployed with stores. Its holds, claims and failures stay under that
        name, and its resources are kept. After a second rename, pass the name in between as an alias in `opts`.

    Raises
    ------
    pulumi.RunError
        The arguments cannot work or are unsafe. The message says what to do instead.
    """

    name: str
    function: aws.lambda_.Function
    role: aws.iam.Role
    log_group: aws.cloudwatch.LogGroup
    mappings: Mapping[str, aws.lambda_.EventSourceMapping]  # by the tables' names in the program
    tables: Sequence[Table]  # that the consumer reads
    stores: Stores | None
    tuning: Tuning
    counts_events: bool  # whether the mappings have the metrics of EventCount
    schedule: aws.scheduler.Schedule | None  # of the retry runs; None without stores
    outputs: dict[str, Any]

    def __init__(
        self,
        name: str,
        *,
        reads: Sequence[Changes],
        environment: Environment,
        stores: Stores | None,
        package: Package,
        tuning: Tuning = DEFAULT_SIZES,
        on_failure: Destination | None = None,
        images: ViewType = "KEYS_ONLY",
        allow_writes_to: Sequence[Table] = (),
        mapping_args: PassedArgs | None = None,
        function_args: PassedArgs | None = None,
        former_name: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.name = name
        self._args = ConsumerArgs(
            *(name, reads, environment, stores, tuning, package, images, allow_writes_to),
            *(mapping_args or {}, function_args or {}, former_name),
        )
        self.tables, self.stores, self.tuning = list(self._args.filters), stores, tuning
        self.counts_events = self._args.counts_events
        protect = self._args.protect
        aliases = [pulumi.Alias(name=former_name)] if former_name else None
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None, aliases=aliases))
        super().__init__(Type.CONSUMER, name, {}, opts)
        self._children = Children(self, protect=protect, sandbox_only=package.target == "host")

        self._check()
        self.log_group = self._make_log_group()
        self.role = self._children.make(aws.iam.Role, f"{name}-role", assume_role_policy=ASSUMED_BY_LAMBDA)
        destination = self._choose_destination(on_failure)
        policies = RolePolicies(name, self.role, self._children)
        policy = policies.add("policy", self._collect_statements(destination))
        self.function = self._make_function(policy)
        permissions = [policy, *self._add_policies_about_function(policies)]
        policies.exclude_others("role")
        self.schedule = None
        if stores:
            self.schedule = retry_every_minute(
                self._children, name, self.function, stores.account, permissions, enabled=tuning.enabled
            )
        self.mappings = {
            table.name: self._make_mapping(table, patterns, destination, permissions)
            for table, patterns in self._args.filters.items()
        }
        self.outputs = self._collect_outputs()
        self.register_outputs(self.outputs)
        self._children.registry.check()

    def _check(self) -> None:
        self._children.registry.refuse(self._args.refusals())
        self._children.describe(self, self._args.inputs_for_rules())
        if self._args.stores:
            self._args.stores.register_consumer(self.name, self._args.ledger_name)

    def _make_log_group(self) -> aws.cloudwatch.LogGroup:
        return self._children.make(
            aws.cloudwatch.LogGroup,
            f"{self.name}-logs",
            retention_in_days=self._args.tuning.retention_in_days,
            kms_key_id=self._args.key_arn,
        )

    def _choose_destination(self, on_failure: Destination | None) -> "_FailureDestination":
        stores = self._args.stores
        match on_failure:
            case aws.sqs.Queue(arn=arn, kms_master_key_id=key, fifo_queue=fifo):
                self._children.describe(on_failure, {"name": on_failure.name, "fifo_queue": fifo})
                send = grants.allow(["sqs:SendMessage"], [arn])
                return _FailureDestination(arn, [send, grants.use_destination_key(arn, key)])
            case aws.sns.Topic(arn=arn, kms_master_key_id=key, fifo_topic=fifo):
                self._children.describe(on_failure, {"name": on_failure.name, "fifo_topic": fifo})
                publish = grants.allow(["sns:Publish"], [arn])
                return _FailureDestination(arn, [publish, grants.use_destination_key(arn, key)])
            case None if stores:
                return _FailureDestination(
                    stores.bucket.arn, grants.deliver_failures(stores.bucket.arn, stores.account)
                )
            case None:
                return _FailureDestination(None, [])

    def _collect_statements(self, destination: "_FailureDestination") -> Sequence[pulumi.Input[Statement | None]]:
        """Return what the role needs for its mappings, the engine and the handler."""
        args = self._args
        statements: list[pulumi.Input[Statement | None]] = [grants.write_logs(self.log_group.arn)]
        for table in args.filters:
            statements += grants.read_stream(table)
        statements += destination.statements
        if args.stores:
            statements += grants.keep_ledger(args.ledger_name, args.stores.ledger.arn)
            statements += [grants.park_failures(args.ledger_name, args.stores.bucket.arn)]
        if args.key_arn is not None:
            statements += grants.use_stores_key(args.key_arn)
        if args.tuning.tracing:
            statements += [grants.trace()]
        if args.accepted_function_args.get("vpc_config"):
            statements += [grants.join_network()]
        return [*statements, *(statement for grant in args.grants for statement in grant.statements)]

    def _make_function(self, policy: pulumi.Resource) -> aws.lambda_.Function:
        package, tuning, accepted = self._args.package, self._args.tuning, self._args.accepted_function_args
        levels: Any = accepted.get("logging_config")
        logging: Any = dict(cast("dict[str, Any]", levels)) if isinstance(levels, dict) else {}
        logging |= {"log_format": "JSON", "log_group": self.log_group.name}
        return self._children.make(
            aws.lambda_.Function,
            f"{self.name}-function",
            role=self.role.arn,
            handler=f"handler.{self.name.replace('-', '_')}.handler",
            code=pulumi.FileArchive(str(package.path)),
            code_sha256=package.sha256,  # so that a refresh finds code that somebody replaced by hand
            runtime=package.runtime,
            architectures=[package.architecture],
            memory_size=tuning.memory_size,
            timeout=tuning.timeout,
            environment={"variables": self._args.variables},
            kms_key_arn=self._args.key_arn,
            tracing_config={"mode": "Active" if tuning.tracing else "PassThrough"},
            publish=True if accepted.get("snap_start") else None,  # SnapStart works for published versions only
            logging_config=logging,
            **{key: value for key, value in accepted.items() if key != "logging_config"},
            # Lambda refuses tracing while the role lacks the permission for it.
            opts=pulumi.ResourceOptions(depends_on=[policy]),
        )

    def _add_policies_about_function(self, policies: RolePolicies) -> list[pulumi.Resource]:
        """Make the policies that contain the function's ARN. The first invocation needs them."""
        key_arn, arn = self._args.key_arn, self.function.arn
        decrypt = {"variables": [grants.decrypt_variables(key_arn, arn)]} if key_arn is not None else {}
        invoke = {"helpers": [grants.invoke(arn)]} if self._args.stores else {}
        return [policies.add(name, statements) for name, statements in (decrypt | invoke).items()]

    def _make_mapping(
        self,
        table: Table,
        patterns: Sequence[str],
        destination: "_FailureDestination",
        permissions: Sequence[pulumi.Resource],
    ) -> aws.lambda_.EventSourceMapping:
        tuning, snap_start, arn = (
            self._args.tuning,
            self._args.accepted_function_args.get("snap_start"),
            destination.arn,
        )
        return self._children.make(
            aws.lambda_.EventSourceMapping,
            f"{self.name}-{table.name}",
            event_source_arn=table.stream_arn,
            function_name=self.function.qualified_arn if snap_start else self.function.name,
            filter_criteria={"filters": [{"pattern": pattern} for pattern in patterns]} if patterns else None,
            function_response_types=["ReportBatchItemFailures"],
            destination_config=None if arn is None else {"on_failure": {"destination_arn": arn}},
            enabled=tuning.enabled,
            starting_position=tuning.starting_position,
            batch_size=tuning.batch_size,
            maximum_batching_window_in_seconds=tuning.maximum_batching_window_in_seconds,
            parallelization_factor=tuning.parallelization_factor,
            **self._args.accepted_mapping_args,
            # The mapping reads the stream only after the rules accept the program and the function has all its
            # permissions. AWS refuses a second mapping of a stream and a function. Another view type is another
            # stream, whose ARN a preview does not know: there, only the trigger shows the replacement.
            opts=pulumi.ResourceOptions(
                depends_on=self._children.registry.once_checked(*permissions),
                delete_before_replace=True,
                replacement_trigger=table.view_type,
                aliases=[pulumi.Alias(name=f"{self.name}-{former}") for former in table.former_names],
            ),
        )

    def _collect_outputs(self) -> dict[str, Any]:
        outputs = {
            "function": self.function.name,
            "functionArn": self.function.arn,
            "role": self.role.name,
            "logGroup": self.log_group.name,
            "mappings": {table: mapping.uuid for table, mapping in self.mappings.items()},
            "fenced": self._args.is_fenced,
            "claimed": self._args.claims_changes,
        }
        if self.schedule:
            outputs |= {"ledgerName": self._args.ledger_name, "schedule": self.schedule.name}
        return outputs


@dataclass(frozen=True)
class _FailureDestination:
    """The on-failure destination of a mapping, and the permissions that it takes."""

    arn: pulumi.Input[str] | None
    statements: Sequence[pulumi.Input[Statement | None]]
