"""AWS in memory for status: each service answers the calls that status makes, and nothing else.

The fakes imitate no permissions, quotas and eventual consistency; a test makes a call fail with `fail`. CloudWatch
computes no statistics: a test gives the values. IAM does not evaluate policies. There is never more than one page.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from handler.stream.ledger import Ledger
from handler.stream.testing.dynamodb import MemoryDynamoDB
from ops.stack import Stack
from tests.fakes.aws import refusal

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/mirror-role-1"
TABLE_ARN = f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/orders-1"
STREAM = f"{TABLE_ARN}/stream/2026-01-01T00:00:00.000"
VARIABLES = {
    "POWERTOOLS_METRICS_NAMESPACE": "shop",
    "LEDGER_TABLE": "ledger-1",
    "REMEMBER_SECONDS": "1900800",
    "GIVE_UP_AFTER_SECONDS": "604800",
}


def time_of(at: float) -> datetime:
    """Return a time as boto3 returns it."""
    return datetime.fromtimestamp(at, UTC)


class Pages:
    """A paginator with one page."""

    def __init__(self, page: Callable[..., dict[str, Any]]) -> None:
        self._page = page

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        return [self._page(**request)]


class Failing:
    """Lets calls fail with an error code, or an exception, by their name."""

    def __init__(self) -> None:
        self.failures: dict[str, str | Exception] = {}

    def fail(self, call: str, error: str | Exception) -> None:
        self.failures[call] = error

    def check(self, call: str) -> None:
        error = self.failures.get(call)
        if isinstance(error, Exception):
            raise error
        if error:
            raise refusal(error, call)


class Functions(Failing):
    """Lambda, with one function and one mapping."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now
        self.configuration: dict[str, Any] = {
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Timeout": 60,
            "Role": ROLE,
            "Environment": {"Variables": VARIABLES},
        }
        self.mapping: dict[str, Any] = {
            "State": "Enabled",
            "StateTransitionReason": "User action",
            "LastProcessingResult": "OK",
            "EventSourceArn": STREAM,
            "FunctionArn": f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:mirror-function-1",
            "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::failures-1"}},
            "MetricsConfig": {"Metrics": ["EventCount"]},
        }

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803 -- AWS's name
        self.check("get_function_configuration")
        assert FunctionName == "mirror-function-1"
        date = time_of(self.now).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return {**self.configuration, "ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    def get_event_source_mapping(self, UUID: str) -> dict[str, Any]:  # noqa: N803
        self.check("get_event_source_mapping")
        return {**self.mapping, "LastModified": time_of(self.now - 86_400), "UUID": UUID}


class DynamoDB(MemoryDynamoDB, Failing):
    """The ledger, and the descriptions of tables."""

    def __init__(self) -> None:
        MemoryDynamoDB.__init__(self)
        Failing.__init__(self)
        self.latest_stream: str | None = STREAM
        self.time_to_live = {"TimeToLiveStatus": "ENABLED", "AttributeName": "expiry"}

    def query(self, **request: Any) -> dict[str, Any]:
        self.check("query")
        return super().query(**request)

    def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        self.check("describe_table")
        return {"Table": {"LatestStreamArn": self.latest_stream} if self.latest_stream else {}}

    def describe_time_to_live(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        self.check("describe_time_to_live")
        return {"TimeToLiveDescription": self.time_to_live}


class Streams(Failing):
    """DynamoDB Streams: shards by id, each with its parent and the times of its records."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.shards: dict[str, tuple[str | None, list[float]]] = {"shard-1": (None, [now - 3600, now - 60])}
        self.reads = 0

    def describe_stream(self, StreamArn: str) -> dict[str, Any]:  # noqa: N803
        self.check("describe_stream")
        shards = [
            {
                "ShardId": shard,
                "SequenceNumberRange": {"StartingSequenceNumber": str(number)},
                **({"ParentShardId": parent} if parent else {}),
            }
            for number, (shard, (parent, _)) in enumerate(self.shards.items())
        ]
        return {"StreamDescription": {"Shards": shards}}

    def get_shard_iterator(self, StreamArn: str, ShardId: str, ShardIteratorType: str) -> dict[str, Any]:  # noqa: N803
        assert ShardIteratorType == "TRIM_HORIZON"
        return {"ShardIterator": ShardId}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        self.reads += 1
        records = [
            {"dynamodb": {"ApproximateCreationDateTime": time_of(at)}} for at in self.shards[ShardIterator][1][:Limit]
        ]
        return {"Records": records, "NextShardIterator": ShardIterator}


class S3(Failing):
    """The failure bucket: keys with the times of their objects."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, float] = {}
        self.rules: list[dict[str, Any]] = [
            {"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 14}},
        ]

    def list_objects_v2(self, Bucket: str, Prefix: str, Delimiter: str = "") -> dict[str, Any]:  # noqa: N803
        self.check("list_objects_v2")
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        if Delimiter:
            prefixes = {f"{Prefix}{key[len(Prefix) :].partition('/')[0]}/" for key in keys}
            return {"IsTruncated": False, "CommonPrefixes": [{"Prefix": each} for each in sorted(prefixes)]}
        contents = [{"Key": key, "LastModified": time_of(self.objects[key])} for key in keys]
        return {"IsTruncated": len(keys) > 1000, "Contents": contents[:1000]}

    def head_bucket(self, Bucket: str) -> dict[str, Any]:  # noqa: N803
        self.check("head_bucket")
        return {}

    def get_bucket_lifecycle_configuration(self, Bucket: str) -> dict[str, Any]:  # noqa: N803
        self.check("get_bucket_lifecycle_configuration")
        return {"Rules": self.rules}


class CloudWatch(Failing):
    """CloudWatch: the values of metrics by name, one a period, until now."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now
        self.values: dict[str, list[float]] = {}
        self.services = ["mirror"]

    def get_paginator(self, call: str) -> Pages:
        self.check(call)
        return Pages({"get_metric_data": self._data, "list_metrics": self._list}[call])

    def _data(self, MetricDataQueries: Any, StartTime: datetime, EndTime: datetime) -> dict[str, Any]:  # noqa: N803
        assert len(MetricDataQueries) <= 500
        assert StartTime < EndTime
        results: list[dict[str, Any]] = []
        for query in MetricDataQueries:
            values = self.values.get(query["MetricStat"]["Metric"]["MetricName"], [])
            period = query["MetricStat"]["Period"]
            times = [time_of(self.now // period * period - period * ago) for ago in range(len(values))]  # newest first
            results.append({"Id": query["Id"], "Timestamps": times, "Values": values[::-1]})
        return {"MetricDataResults": results}

    def _list(self, Namespace: str, MetricName: str) -> dict[str, Any]:  # noqa: N803
        assert (Namespace, MetricName) == ("shop", "HeldItems")
        return {"Metrics": [{"Dimensions": [{"Name": "service", "Value": name}]} for name in self.services]}


class Iam(Failing):
    """IAM, whose simulation answers what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.decision, self.missing = "allowed", list[str]()
        self.requests: list[dict[str, Any]] = []

    def simulate_principal_policy(self, **request: Any) -> dict[str, Any]:
        self.check("simulate_principal_policy")
        self.requests.append(request)
        return {"EvaluationResults": [{"EvalDecision": self.decision, "MissingContextValues": self.missing}]}


class Scheduler(Failing):
    """EventBridge Scheduler, with one schedule."""

    state = "ENABLED"

    def get_schedule(self, Name: str) -> dict[str, Any]:  # noqa: N803
        self.check("get_schedule")
        return {"State": self.state}


class Queues(Failing):
    """SQS: every queue exists."""

    def get_queue_url(self, QueueName: str, QueueOwnerAWSAccountId: str) -> dict[str, Any]:  # noqa: N803
        self.check("get_queue_url")
        return {"QueueUrl": f"https://{QueueOwnerAWSAccountId}/{QueueName}"}


class Topics(Failing):
    """SNS: every topic exists."""

    def get_topic_attributes(self, TopicArn: str) -> dict[str, Any]:  # noqa: N803
        self.check("get_topic_attributes")
        return {}


class FakeAws:
    """All services of a stack with the consumer mirror, which reads the table orders."""

    def __init__(self, now: float) -> None:
        self.functions, self.dynamodb, self.streams, self.s3 = Functions(now), DynamoDB(), Streams(now), S3()
        self.cloudwatch, self.iam, self.scheduler = CloudWatch(now), Iam(), Scheduler()
        self.queues, self.topics = Queues(), Topics()

    def __call__(self, service: str) -> Any:
        """Return the client of a service."""
        services = {
            "lambda": self.functions,
            "dynamodb": self.dynamodb,
            "dynamodbstreams": self.streams,
            "s3": self.s3,
            "cloudwatch": self.cloudwatch,
            "iam": self.iam,
            "scheduler": self.scheduler,
            "sqs": self.queues,
            "sns": self.topics,
        }
        return services[service]

    def services(self) -> Mapping[str, Failing]:
        """Return the services whose calls may fail, by attribute."""
        return {name: each for name, each in vars(self).items() if isinstance(each, Failing)}

    def ledger(self, consumer: str) -> Ledger:
        """Return a consumer's part of the ledger."""
        return Ledger(lambda: self.dynamodb, "ledger-1", consumer, lambda _: None)


STACK = Stack.model_validate(
    {
        "tables": {"orders": {"name": "orders-1", "arn": TABLE_ARN, "streamArn": STREAM}},
        "consumers": {
            "mirror": {
                "function": "mirror-function-1",
                "role": "mirror-role-1",
                "logGroup": "mirror-logs-1",
                "mappings": {"orders": "uuid-1"},
                "ledgerName": "mirror",
                "schedule": "mirror-retry-1",
            }
        },
        "stores": {"failures": {"bucket": "failures-1"}, "ledger": {"name": "ledger-1"}},
    }
)
