"""The component Alarms: alarms with their thresholds and recipients, and a dashboard."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.consumer import StreamConsumer
from infra.internal.monitoring.alarm import Alarm, Level
from infra.internal.monitoring.dashboard import dashboard
from infra.internal.monitoring.of_consumer import alarms_of_consumer
from infra.internal.monitoring.of_table import LEDGER_OPERATIONS, STREAM_OPERATIONS, alarms_of_table
from infra.internal.registry import Children
from infra.settings import NO_ADDRESS, AlarmSettings

URGENCY: Mapping[Level, str] = {"page": "now", "ticket": "in working hours"}
"""When a person must act, by level."""


class Alarms(pulumi.ComponentResource):
    """Alarms about consumers with stores, the tables that they read and their ledgers, and a dashboard.

    Each consumer has a composite alarm for pages and one for tickets. Only these and the alarms of tables notify, so
    one fault of a consumer notifies once, however many of the consumer's alarms fire. They notify again when all is
    well. Without an address, the alarms exist and notify nobody.

    Alarms hold no data, and a consumer that is disabled loses some of its alarms, so they are never protected.

    Parameters
    ----------
    consumers
        The consumers to watch. A consumer without stores holds and parks nothing, and gets no alarms.
    settings
        The recipients and the thresholds. For an e-mail address, the component makes an SNS topic, which sends to
        the address once its owner has confirmed. For the ARN of a topic, it makes nothing.

    Raises
    ------
    pulumi.RunError
        A consumer is protected, and the settings name nobody.
    """

    dashboard: aws.cloudwatch.Dashboard | None  # None if no consumer has stores

    def __init__(
        self,
        name: str,
        *,
        consumers: Sequence[StreamConsumer],
        settings: AlarmSettings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("table-stream:index:Alarms", name, {}, opts)
        self._name, self._settings = name, settings
        self._children = Children(self, protect=False)
        if not settings.page_to and any(table.protect for consumer in consumers for table in consumer.tables):
            self._children.registry.refuse([f"{name}: page_to is {NO_ADDRESS}"])
        watched = [consumer for consumer in consumers if consumer.stores]
        self._topic_arns: dict[str, pulumi.Input[str]] = {}  # by address
        self._composites: list[aws.cloudwatch.CompositeAlarm] = []
        self._names = {consumer.name: self._watch_consumer(consumer) for consumer in watched}
        tables = {
            table.name: table.table_name for consumer in watched for table in consumer.tables if table.in_this_account
        }
        ledgers = {
            f"{consumer.stores.pulumi_resource_name}-ledger": consumer.stores.ledger.name
            for consumer in watched
            if consumer.stores
        }
        for used, operations in ((tables, STREAM_OPERATIONS), (ledgers, LEDGER_OPERATIONS)):
            for table, table_name in used.items():
                self._watch_table(table, table_name, operations)
        self.dashboard = self._make_dashboard(watched, tables | ledgers) if watched else None
        self.register_outputs({})
        self._children.registry.check()

    def outputs_of(self, consumer: StreamConsumer) -> dict[str, Any]:
        """Return the outputs of a consumer, with the names of its alarms; the composite alarms come last."""
        return consumer.outputs | {"alarms": self._names.get(consumer.name, [])}

    def _watch_consumer(self, consumer: StreamConsumer) -> list[pulumi.Output[str]]:
        """Make the alarms of a consumer; return their names."""
        alarms = list(alarms_of_consumer(consumer, self._settings))
        made = {alarm.name: self._make(f"{self._name}-{consumer.name}", alarm) for alarm in alarms}
        composites: list[pulumi.Output[str]] = []
        for level in URGENCY:
            names = [made[alarm.name].name for alarm in alarms if alarm.level == level]
            composites.append(self._make_composite(consumer, level, names).alarm_name)
        return [*(each.name for each in made.values()), *composites]

    def _watch_table(self, table: str, table_name: pulumi.Input[str], operations: Sequence[str]) -> None:
        for alarm in alarms_of_table(table, table_name, operations):
            self._make(f"{self._name}-{table}", alarm, **self._actions(alarm.level))

    def _make(self, prefix: str, alarm: Alarm, **actions: Any) -> aws.cloudwatch.MetricAlarm:
        inputs = alarm.inputs(self._settings.runbook)
        return self._children.make(aws.cloudwatch.MetricAlarm, f"{prefix}-{alarm.name}", **inputs, **actions)

    def _make_composite(
        self, consumer: StreamConsumer, level: Level, names: Sequence[pulumi.Output[str]]
    ) -> aws.cloudwatch.CompositeAlarm:
        composite = self._children.make(
            aws.cloudwatch.CompositeAlarm,
            f"{self._name}-{consumer.name}-{level}",
            alarm_name=_unique(consumer.name, level),
            alarm_rule=pulumi.Output.all(*names).apply(lambda each: " OR ".join(f'ALARM("{name}")' for name in each)),
            alarm_description=(
                f"{consumer.name} needs a person {URGENCY[level]}. The alarm that fires says what happened, as "
                f"python -m ops status does. See {self._settings.runbook}"
            ),
            **self._actions(level),
        )
        self._composites.append(composite)
        return composite

    def _actions(self, level: Level) -> dict[str, Any]:
        """Return the inputs with which an alarm of this level notifies; none if the settings name nobody."""
        address = self._settings.address(level)
        if not address:
            return {}
        if address not in self._topic_arns:
            self._topic_arns[address] = address if address.startswith("arn:") else self._make_topic(level, address)
        return {"alarm_actions": [self._topic_arns[address]], "ok_actions": [self._topic_arns[address]]}

    def _make_topic(self, level: Level, address: str) -> pulumi.Output[str]:
        """Make a topic that sends e-mails. By its default policy, alarms of the account may publish to it."""
        topic = self._children.make(aws.sns.Topic, f"{self._name}-{level}-topic")
        self._children.make(
            aws.sns.TopicSubscription,
            f"{self._name}-{level}-email",
            topic=topic.arn,
            protocol="email",
            endpoint=address,
        )
        return topic.arn

    def _make_dashboard(
        self, consumers: Sequence[StreamConsumer], tables: Mapping[str, pulumi.Input[str]]
    ) -> aws.cloudwatch.Dashboard:
        composites = [composite.arn for composite in self._composites]
        return self._children.make(
            aws.cloudwatch.Dashboard,
            f"{self._name}-dashboard",
            dashboard_name=_unique(),
            dashboard_body=pulumi.Output.json_dumps(dashboard(consumers, tables, composites, self._settings)),
        )


def _unique(*parts: str) -> str:
    """Return a name that begins with the project and the stack: Pulumi makes up no names of these types."""
    return re.sub("[^A-Za-z0-9_-]", "-", "-".join([pulumi.get_project(), pulumi.get_stack(), *parts]))
