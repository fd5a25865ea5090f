"""A program is made real as a whole or not at all, and what is made can be unmade."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws_resources
import pytest

from sandbox.program.deploy import DeployError, Deployment
from tests.local import LocalAws

Deployed = Callable[..., Deployment]


def queues(aws: LocalAws, prefix: str) -> list[str]:
    return aws.client("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])


def test_what_a_program_makes_exists_and_can_be_unmade(aws: LocalAws):
    def program() -> None:
        pulumi.export("region", aws_resources.get_region().region)
        component = pulumi.ComponentResource("table-stream:index:Thing", "thing")
        child = pulumi.ResourceOptions(parent=component)
        queue = aws_resources.sqs.Queue("deploy-one", opts=child)
        pulumi.export("queue", {"name": queue.name, "arn": queue.arn, "url": queue.url, "urn": component.urn})

    deployment = aws.deploy(program, config={})
    outputs = deployment.outputs["queue"]
    assert queues(aws, "deploy-one-") == [outputs["url"]]
    assert outputs["arn"].endswith(f":{outputs['name']}")
    assert outputs["urn"] == "urn:pulumi:local::table-stream::table-stream:index:Thing::thing"
    assert deployment.outputs["region"] == "eu-west-1"
    assert [made.registration.name for made in deployment.made] == ["deploy-one"]
    deployment.destroy()
    assert queues(aws, "deploy-one-") == []


def test_a_failed_run_leaves_nothing(aws: LocalAws):
    def program() -> None:
        queue = aws_resources.sqs.Queue("deploy-two")
        aws_resources.iam.RolePolicy("rights", role="nobody", policy=queue.arn.apply(lambda arn: "{}"))

    with pytest.raises(DeployError, match=r"^aws:iam/rolePolicy:RolePolicy rights could not be made: .*nobody"):
        aws.deploy(program, config={})
    assert queues(aws, "deploy-two-") == []


def test_a_program_that_raises_leaves_nothing(aws: LocalAws):
    def program() -> None:
        aws_resources.sqs.Queue("deploy-three")
        raise pulumi.RunError("two errors in the configuration")

    with pytest.raises(pulumi.RunError, match="two errors"):
        aws.deploy(program, config={})
    assert queues(aws, "deploy-three-") == []


def test_a_urn_that_is_registered_twice_is_named(aws: LocalAws):
    def program() -> None:
        aws_resources.sqs.Queue("deploy-twice")
        aws_resources.sqs.Queue("deploy-twice")

    urn = "urn:pulumi:local::table-stream::aws:sqs/queue:Queue::deploy-twice"
    with pytest.raises(DeployError, match=f"^{urn} is registered twice: resources of one type and parent need differ"):
        aws.deploy(program, config={})
    assert queues(aws, "deploy-twice-") == []


def test_names_may_recur_under_another_parent_and_components_may_not(deployed: Deployed, aws: LocalAws):
    def component(name: str) -> None:
        parent = pulumi.ComponentResource("table-stream:index:Thing", name)
        aws_resources.sqs.Queue("deploy-child", opts=pulumi.ResourceOptions(parent=parent))

    def twice() -> None:
        component("one")
        component("one")

    def apart() -> None:
        aws_resources.sqs.Queue("deploy-child")
        aws_resources.sns.Topic("deploy-child")
        component("one")

    assert len(deployed(apart, config={}).made) == 3
    with pytest.raises(DeployError, match=r"^urn:pulumi:local::table-stream::table-stream:index:Thing::one is registe"):
        aws.deploy(twice, config={})


def test_what_cannot_be_unmade_is_told_and_the_rest_is_unmade(aws: LocalAws):
    def program() -> None:
        aws_resources.sqs.Queue("deploy-four")
        pulumi.export("bucket", aws_resources.s3.Bucket("deploy-four").bucket)

    deployment = aws.deploy(program, config={})
    bucket = deployment.outputs["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=b"")
    with pytest.raises(DeployError, match=f"could not be unmade: aws:s3/bucket:Bucket {bucket}: .*BucketNotEmpty"):
        deployment.destroy()
    assert queues(aws, "deploy-four-") == []
    aws.client("s3").delete_object(Bucket=bucket, Key="kept")
    aws.client("s3").delete_bucket(Bucket=bucket)


def test_the_sender_of_mail_is_verified(deployed: Deployed, aws: LocalAws):
    deployed(lambda: None, config={"mailFrom": "sender@example.com"})
    assert aws.client("sesv2").get_email_identity(EmailIdentity="sender@example.com")["VerifiedForSendingStatus"]


def queue(name: str, **inputs: Any) -> None:
    pulumi.export(name, aws_resources.sqs.Queue(name, **inputs).url)


def table(key: str) -> None:
    attribute = aws_resources.dynamodb.TableAttributeArgs(name=key, type="S")
    made = aws_resources.dynamodb.Table(
        "again-table", hash_key=key, attributes=[attribute], billing_mode="PAY_PER_REQUEST"
    )
    pulumi.export("table", made.name)


def test_another_run_changes_what_differs_and_nothing_else(deployed: Deployed, aws: LocalAws):
    def first() -> None:
        queue("again-same")
        queue("again-changed", delay_seconds=1)
        queue("again-gone")
        table("id")

    def second() -> None:
        queue("again-new")
        table("other")
        queue("again-changed", delay_seconds=2)
        queue("again-same")

    deployment = deployed(first, config={})
    before = deployment.outputs
    aws.write(before["table"], {"id": "1"})
    assert aws.sandbox.redeploy(deployment, first, config={}) == []
    assert deployment.outputs == before
    assert aws.items(before["table"]) == [{"id": "1"}]

    done = aws.sandbox.redeploy(deployment, second, config={})
    after = deployment.outputs
    assert done == [
        *("again-changed", "again-gone unmade", "again-new made", "again-table made", "again-table unmade"),
    ]
    assert {name: after[name] for name in ("again-same", "again-changed")} == {
        name: before[name] for name in ("again-same", "again-changed")
    }
    assert after["table"] != before["table"]
    assert set(queues(aws, "again-")) == {url for name, url in after.items() if name != "table"}
    found = aws.client("sqs").get_queue_attributes(QueueUrl=after["again-changed"], AttributeNames=["DelaySeconds"])
    assert found["Attributes"] == {"DelaySeconds": "2"}
    tables = aws.client("dynamodb").list_tables()["TableNames"]
    assert [name for name in tables if name.startswith("again-table")] == [after["table"]]
    assert {made.registration.name for made in deployment.made} == {
        *("again-same", "again-changed", "again-new", "again-table")
    }


def test_another_run_that_fails_leaves_what_there_is(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        queue("left-one")
        queue("left-two")

    def failing() -> None:
        queue("left-one")
        raise pulumi.RunError("a typo")

    deployment = deployed(program, config={})
    with pytest.raises(pulumi.RunError, match="a typo"):
        aws.sandbox.redeploy(deployment, failing, config={})
    assert set(queues(aws, "left-")) == set(deployment.outputs.values())
    assert aws.sandbox.redeploy(deployment, program, config={}) == []


def test_what_another_run_could_not_unmake_is_tried_again(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        pulumi.export("bucket", aws_resources.s3.Bucket("kept").bucket)

    deployment = deployed(program, config={})
    bucket = deployment.outputs["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=b"")
    with pytest.raises(DeployError, match=f"could not be unmade: aws:s3/bucket:Bucket {bucket}: .*BucketNotEmpty"):
        aws.sandbox.redeploy(deployment, lambda: None, config={})
    aws.client("s3").delete_object(Bucket=bucket, Key="kept")
    assert aws.sandbox.redeploy(deployment, lambda: None, config={}) == ["kept unmade"]


def test_another_trigger_replaces_and_a_first_one_does_not(deployed: Deployed, aws: LocalAws):
    """As the engine has it: no trigger is no value."""

    def program(trigger: object) -> Callable[[], None]:
        def run() -> None:
            made = aws_resources.sqs.Queue("trigger", opts=pulumi.ResourceOptions(replacement_trigger=trigger))
            pulumi.export("url", made.url)

        return run

    deployment = deployed(program(None), config={})
    first = deployment.outputs["url"]
    assert aws.sandbox.redeploy(deployment, program("S"), config={}) == []
    assert deployment.outputs["url"] == first
    assert aws.sandbox.redeploy(deployment, program("N"), config={}) == ["trigger made", "trigger unmade"]
    assert deployment.outputs["url"] != first


def test_a_property_that_replaces_by_the_program_s_wish(deployed: Deployed, aws: LocalAws):
    def program(seconds: int) -> Callable[[], None]:
        opts = pulumi.ResourceOptions(replace_on_changes=["delaySeconds"])
        return lambda: pulumi.export("url", aws_resources.sqs.Queue("wish", delay_seconds=seconds, opts=opts).url)

    deployment = deployed(program(1), config={})
    assert aws.sandbox.redeploy(deployment, program(2), config={}) == ["wish made", "wish unmade"]
