"""What the pipeline does not need is passed over and named in a line; what could show something false stops."""

import json
import runpy
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as resources
import pytest

from sandbox.__main__ import tell
from sandbox.program.deploy import Deployment
from sandbox.program.in_process import stack_config
from sandbox.program.not_imitated import HARMLESS
from sandbox.resources.catalog import TYPES, resource
from sandbox.resources.resource_type import ResourceError
from tests.consumers.project import SAMPLE
from tests.local import REGION, LocalAws
from tests.sandbox.making import ACCOUNT, nowhere

Deployed = Callable[..., Deployment]
Options = pulumi.ResourceOptions

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"


def alarm(name: str, **inputs: Any) -> resources.cloudwatch.MetricAlarm:
    return resources.cloudwatch.MetricAlarm(
        name, comparison_operator="GreaterThanThreshold", evaluation_periods=1, threshold=1, **inputs
    )


def additions() -> None:
    """What somebody adds to the program who runs it in earnest."""
    runpy.run_path(str(SAMPLE / "__main__.py"))
    topic = resources.sns.Topic("alarms")
    inbox = resources.sqs.Queue("inbox")
    resources.sns.TopicSubscription("to-inbox", topic=topic.arn, protocol="sqs", endpoint=inbox.arn)
    resources.sns.TopicSubscription("to-me", topic=topic.arn, protocol="email", endpoint="me@example.com")
    for name in ("late", "parked", "throttled", "failing"):
        alarm(name, alarm_actions=[topic.arn])
    dashboard = resources.cloudwatch.Dashboard("overview", dashboard_name="overview", dashboard_body="{}")
    resources.budgets.Budget("monthly", budget_type="COST", time_unit="MONTHLY", limit_amount="9", limit_unit="USD")
    secret = resources.secretsmanager.Secret("token")
    resources.secretsmanager.SecretVersion("token-value", secret_id=secret.id, secret_string="s3cr3t")
    resources.ssm.Parameter("limit", type="String", value="5")
    table = resources.dynamodb.Table(
        "cities",
        attributes=[{"name": "id", "type": "S"}, {"name": "city", "type": "S"}],
        hash_key="id",
        billing_mode="PAY_PER_REQUEST",
        global_secondary_indexes=[{"name": "by-city", "hash_key": "city", "projection_type": "ALL"}],
        table_class="STANDARD_INFREQUENT_ACCESS",
        tags={"team": "a"},
    )
    pulumi.export("added", {"secret": secret.arn, "table": table.name, "topic": topic.arn, "inbox": inbox.url})
    pulumi.export("dashboard", dashboard.dashboard_arn)


def test_the_program_with_all_that_a_user_adds(deployed: Deployed, aws: LocalAws, capsys: pytest.CaptureFixture[str]):
    deployment = deployed(additions, config=stack_config("local", SAMPLE))
    assert deployment.passed_over == {
        "aws:budgets/budget:Budget": ["monthly"],
        "aws:cloudwatch/dashboard:Dashboard": ["overview"],
        ALARM: ["failing", "late", "parked", "throttled"],
        "aws:dynamodb/table:Table tableClass": ["cities"],
        "aws:sns/topicSubscription:TopicSubscription protocol email": ["to-me"],
    }
    line = (
        "not imitated here: aws:budgets/budget:Budget (monthly), aws:cloudwatch/dashboard:Dashboard (overview), "
        "aws:cloudwatch/metricAlarm:MetricAlarm (failing, late, parked and 1 more), "
        "aws:dynamodb/table:Table tableClass (cities), "
        "aws:sns/topicSubscription:TopicSubscription protocol email (to-me)"
    )
    assert deployment.not_imitated == line
    assert (tell(deployment), tell(deployment, line)) == (line, line)
    assert capsys.readouterr().out == f"{line}\n"
    assert not [made for made in deployment.made if made.registration.type == ALARM]

    added = deployment.outputs["added"]
    assert aws.client("secretsmanager").get_secret_value(SecretId=added["secret"])["SecretString"] == "s3cr3t"
    aws.write(added["table"], {"id": "1", "city": "Bern"})
    found = aws.client("dynamodb").query(
        TableName=added["table"],
        IndexName="by-city",
        KeyConditionExpression="city = :city",
        ExpressionAttributeValues={":city": {"S": "Bern"}},
    )
    assert [item["id"]["S"] for item in found["Items"]] == ["1"]
    aws.client("sns").publish(TopicArn=added["topic"], Message="late")
    [message] = aws.client("sqs").receive_message(QueueUrl=added["inbox"])["Messages"]
    assert json.loads(message["Body"])["Message"] == "late"
    aws.write(deployment.outputs["tables"]["users"]["name"], {"id": "passed", "email": "passed@example.com"})
    aws.settle()
    assert aws.log_entries(deployment.outputs["consumers"]["change-log"]["logGroup"], "change")


def test_the_program_as_it_is_leaves_nothing_to_tell(pipeline: Deployment, capsys: pytest.CaptureFixture[str]):
    assert (pipeline.passed_over, pipeline.not_imitated) == ({}, "")
    assert tell(pipeline) == ""
    assert capsys.readouterr().out == ""


def test_what_is_made_up_and_where_it_goes_is_told(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        domain = resources.opensearch.Domain("search", domain_name="search")
        resources.sqs.Queue("asked", name=domain.arn.apply(lambda arn: arn.rpartition("/")[2]))
        pulumi.export("domain", {"arn": domain.arn, "id": domain.id, "name": domain.domain_name})

    deployment = deployed(program, config={})
    assert deployment.outputs["domain"] == {
        "arn": f"arn:aws:opensearch:{REGION}:{ACCOUNT}:domain/search",
        "id": "search",
        "name": "search",
    }
    told = "not imitated here: aws:opensearch/domain:Domain (search → asked.name)"
    assert deployment.not_imitated == told
    assert aws.sandbox.redeploy(deployment, program, config={}) == []
    assert deployment.not_imitated == told

    def failing() -> None:
        alarm("late")
        raise pulumi.RunError("a typo")

    with pytest.raises(pulumi.RunError, match="a typo"):
        aws.sandbox.redeploy(deployment, failing, config={})
    assert deployment.not_imitated == told
    assert aws.sandbox.redeploy(deployment, lambda: None, config={}) == ["asked unmade"]
    assert deployment.not_imitated == ""


def test_there_is_one_region_whatever_a_provider_says(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        there = resources.Provider("there", region="eu-central-1")
        here = resources.Provider("here", region=REGION)
        made = resources.sqs.Queue("region-there", opts=Options(provider=there))
        resources.sqs.Queue("region-here", opts=Options(provider=here))
        resources.sns.Topic("region-topic", region="us-west-2")
        seen = resources.get_region(opts=pulumi.InvokeOptions(provider=there)).region
        pulumi.export("made", {"arn": made.arn, "seen": seen})

    deployment = deployed(program, config={})
    assert deployment.outputs["made"]["arn"].startswith(f"arn:aws:sqs:{REGION}:{ACCOUNT}:region-there-")
    assert deployment.outputs["made"]["seen"] == REGION
    assert deployment.not_imitated == (
        f"not imitated here: another Region than {REGION} (region-topic in us-west-2, there in eu-central-1)"
    )


def test_an_unknown_property_of_another_service_is_mentioned(deployed: Deployed):
    def program() -> None:
        resources.s3.Bucket("mention", acceleration_status="Enabled", tags={"team": "a"})
        resources.sqs.Queue("mention", name_prefix="mention-", fifo_throughput_limit="perQueue")

    assert deployed(program, config={}).passed_over == {
        "aws:s3/bucket:Bucket accelerationStatus": ["mention"],
        "aws:sqs/queue:Queue fifoThroughputLimit": ["mention"],
    }


def test_a_name_by_its_beginning(deployed: Deployed):
    def program() -> None:
        pulumi.export("queue", resources.sqs.Queue("q", name_prefix="prefixed-").name)
        pulumi.export("bucket", resources.s3.Bucket("b", bucket_prefix="prefixed-").bucket)

    outputs = deployed(program, config={}).outputs
    assert [name[:9] for name in outputs.values()] == ["prefixed-", "prefixed-"]


@pytest.mark.parametrize(
    "type_",
    [
        *("aws:lambda/alias:Alias", "aws:lambda/functionUrl:FunctionUrl", "aws:lambda/invocation:Invocation"),
        "aws:dynamodb/kinesisStreamingDestination:KinesisStreamingDestination",
    ],
)
def test_what_could_change_what_is_shown_stops(type_: str):
    with pytest.raises(
        ResourceError,
        match=f"^mine: the sandbox does not know resources of type {type_}, and what functions and tables do may "
        r"depend on it: let the program register it only where pulumi.get_stack\(\) is not 'local'$",
    ):
        resource(type_, "mine", nowhere())


def test_what_only_permits_or_observes_does_not_stop():
    assert [resource(type_, "mine", nowhere()).create({"name": "n"}) for type_ in HARMLESS] == ["n"] * len(HARMLESS)
    assert not HARMLESS & TYPES.keys()


def test_a_resource_of_another_package_has_no_arn():
    made = resource("datadog:index/monitor:Monitor", "slow", nowhere())
    inputs = made.check("slow", {"query": "q"})
    assert (inputs, made.create(inputs), made.read("slow")) == (
        *({"name": "slow", "query": "q"}, "slow"),
        {"name": "slow"},
    )
