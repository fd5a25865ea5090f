"""Unsupported resources become placeholders that one line names, unless functions or tables may depend on them."""

import json
import runpy
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as resources
import pytest

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import Program, stack_config
from sandbox.program.unsupported import OBSERVING
from sandbox.resources.catalog import SAFE_TO_SKIP, TYPES, resource
from sandbox.resources.resource_type import ResourceError
from tests.consumers.project import SAMPLE
from tests.local import REGION, LocalAws, declare_table
from tests.sandbox.resource_factory import ACCOUNT, disconnected_aws
from tests.sandbox.resources.test_tables import query_index

Deployed = Callable[..., Deployment]
Options = pulumi.ResourceOptions

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"


def alarm(name: str, **inputs: Any) -> resources.cloudwatch.MetricAlarm:
    return resources.cloudwatch.MetricAlarm(
        name, comparison_operator="GreaterThanThreshold", evaluation_periods=1, threshold=1, **inputs
    )


def additions() -> None:
    """The program with typical additions of a production stack."""
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
    table = declare_table(
        "cities",
        attributes=[{"name": "id", "type": "S"}, {"name": "city", "type": "S"}],
        global_secondary_indexes=[{"name": "by-city", "hash_key": "city", "projection_type": "ALL"}],
        table_class="STANDARD_INFREQUENT_ACCESS",
        tags={"team": "a"},
    )
    pulumi.export("added", {"secret": secret.arn, "table": table.name, "topic": topic.arn, "inbox": inbox.url})
    pulumi.export("dashboard", dashboard.dashboard_arn)


def test_a_program_with_typical_additions(deployed: Deployed, pipeline: Deployment, aws: LocalAws):
    of_program = pipeline.unsupported
    deployment = deployed(additions, config=stack_config("local", SAMPLE))
    assert deployment.unsupported == {
        "aws:budgets/budget:Budget": ["monthly"],
        **of_program,
        "aws:cloudwatch/dashboard:Dashboard": ["alarms-dashboard", "overview"],
        ALARM: sorted([*of_program[ALARM], "failing", "late", "parked", "throttled"]),
        "aws:dynamodb/table:Table tableClass": ["cities"],
        "aws:sns/topicSubscription:TopicSubscription protocol email": ["to-me"],
    }
    line = (
        "not supported in the sandbox: alarms and dashboards, aws:budgets/budget:Budget (monthly), "
        "aws:dynamodb/table:Table tableClass (cities), "
        "aws:sns/topicSubscription:TopicSubscription protocol email (to-me)"
    )
    assert deployment.unsupported_line == line
    assert not [each for each in deployment.resources if each.registration.type == ALARM]

    added = deployment.outputs["added"]
    assert aws.client("secretsmanager").get_secret_value(SecretId=added["secret"])["SecretString"] == "s3cr3t"
    aws.write(added["table"], {"id": "1", "city": "Bern"})
    assert query_index(aws, added["table"], "by-city", city="Bern") == [{"id": "1", "city": "Bern"}]
    aws.client("sns").publish(TopicArn=added["topic"], Message="late")
    [message] = aws.client("sqs").receive_message(QueueUrl=added["inbox"])["Messages"]
    assert json.loads(message["Body"])["Message"] == "late"
    aws.write(deployment.outputs["tables"]["users"]["name"], {"id": "passed", "email": "passed@example.com"})
    aws.wait_until_idle()
    assert aws.log_entries(deployment.outputs["consumers"]["change-log"]["logGroup"], "change")


def test_everything_in_the_program_is_supported_but_its_alarms(pipeline: Deployment):
    assert pipeline.unsupported.keys() == OBSERVING
    line = "not supported in the sandbox: alarms and dashboards"
    assert pipeline.unsupported_line == line


def test_the_line_names_properties_with_invented_values(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        domain = resources.opensearch.Domain("search", domain_name="search")
        resources.sqs.Queue("asked", name=domain.arn.apply(lambda arn: arn.rpartition("/")[2]))
        pulumi.export("domain", {"arn": domain.arn, "id": domain.id, "name": domain.domain_name})

    deployment = deployed(program, config={})
    arn = f"arn:aws:opensearch:{REGION}:{ACCOUNT}:domain/search"
    assert deployment.outputs["domain"] == {"arn": arn, "id": "search", "name": "search"}
    line = "not supported in the sandbox: aws:opensearch/domain:Domain (search → asked.name)"
    assert deployment.unsupported_line == line
    assert aws.sandbox.redeploy(deployment, Program(program, config={})) == []
    assert deployment.unsupported_line == line

    def failing() -> None:
        alarm("late")
        raise pulumi.RunError("a typo")

    with pytest.raises(pulumi.RunError, match="a typo"):
        aws.sandbox.redeploy(deployment, Program(failing, config={}))
    assert deployment.unsupported_line == line
    assert aws.sandbox.redeploy(deployment, Program(lambda: None, config={})) == ["asked deleted"]
    assert deployment.unsupported_line == ""


def test_the_sandbox_has_one_region_for_all_providers(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        there = resources.Provider("there", region="eu-central-1")
        here = resources.Provider("here", region=REGION)
        queue = resources.sqs.Queue("region-there", opts=Options(provider=there))
        resources.sqs.Queue("region-here", opts=Options(provider=here))
        resources.sns.Topic("region-topic", region="us-west-2")
        seen = resources.get_region(opts=pulumi.InvokeOptions(provider=there)).region
        pulumi.export("queue", {"arn": queue.arn, "seen": seen})

    deployment = deployed(program, config={})
    assert deployment.outputs["queue"]["arn"].startswith(f"arn:aws:sqs:{REGION}:{ACCOUNT}:region-there-")
    assert deployment.outputs["queue"]["seen"] == REGION
    assert deployment.unsupported_line == (
        f"not supported in the sandbox: another Region than {REGION} (region-topic in us-west-2, there in eu-central-1)"
    )


def test_an_unsupported_property_of_another_service_is_reported(deployed: Deployed):
    def program() -> None:
        resources.s3.Bucket("mention", acceleration_status="Enabled", tags={"team": "a"})
        resources.sqs.Queue("mention", name_prefix="mention-", fifo_throughput_limit="perQueue")

    assert deployed(program, config={}).unsupported == {
        "aws:s3/bucket:Bucket accelerationStatus": ["mention"],
        "aws:sqs/queue:Queue fifoThroughputLimit": ["mention"],
    }


def test_a_name_prefix(deployed: Deployed):
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
def test_a_type_on_which_functions_or_tables_may_depend_is_an_error(type_: str):
    message = (
        f"^mine: the sandbox does not support resources of type {type_}, and functions or tables may depend "
        r"on them: register it only where pulumi.get_stack\(\) is not 'local'$"
    )
    with pytest.raises(ResourceError, match=message):
        resource(type_, "mine", disconnected_aws())


def test_types_that_only_permit_or_observe_are_skipped():
    assert {resource(type_, "mine", disconnected_aws()).create({"name": "n"}) for type_ in SAFE_TO_SKIP} == {"n"}
    assert not SAFE_TO_SKIP & TYPES.keys()


def test_a_resource_of_another_package_has_no_arn():
    placeholder = resource("datadog:index/monitor:Monitor", "slow", disconnected_aws())
    inputs = placeholder.check("slow", {"query": "q"})
    assert inputs == {"name": "slow", "query": "q"}
    assert (placeholder.create(inputs), placeholder.read("slow")) == ("slow", {"name": "slow"})
