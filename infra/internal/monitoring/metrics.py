"""The metrics that the alarms and the dashboard use, by AWS's names and dimensions (November 2026)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.consumer import StreamConsumer


@dataclass(frozen=True)
class Metric:
    """A statistic of a metric."""

    namespace: str
    name: str
    dimensions: Mapping[str, pulumi.Input[str]]
    statistic: str = "Sum"

    def line(self, label: str, **options: object) -> list[Any]:
        """Return the metric as a line of a dashboard's widget, in which it is called `label`."""
        dimensions = [part for dimension in self.dimensions.items() for part in dimension]
        return [self.namespace, self.name, *dimensions, {"stat": self.statistic, "label": label, **options}]


def of_engine(consumer: StreamConsumer, name: str, statistic: str = "Sum") -> Metric:
    """Return a metric that the engine prints in the embedded metric format."""
    return Metric(pulumi.get_project(), name, {"service": consumer.name}, statistic)


def of_function(consumer: StreamConsumer, name: str, statistic: str = "Sum") -> Metric:
    """Return a metric of Lambda about a consumer's function."""
    return Metric("AWS/Lambda", name, {"FunctionName": consumer.function.name}, statistic)


def of_mapping(mapping: aws.lambda_.EventSourceMapping, name: str) -> Metric:
    """Return a metric of Lambda about a mapping, which exists if the mapping counts events."""
    return Metric("AWS/Lambda", name, {"EventSourceMappingUUID": mapping.uuid})


def of_table(table_name: pulumi.Input[str], name: str) -> Metric:
    """Return a metric of DynamoDB about a table, without its indexes."""
    return Metric("AWS/DynamoDB", name, {"TableName": table_name})


def of_operation(table_name: pulumi.Input[str], operation: str, name: str) -> Metric:
    """Return a metric of DynamoDB about one operation on a table."""
    return Metric("AWS/DynamoDB", name, {"TableName": table_name, "Operation": operation})
