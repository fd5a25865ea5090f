"""A deployment creates all resources of a program or none, updates them, and deletes them."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws_resources
import pytest

from sandbox.program.deploy import DeployError, Deployment
from sandbox.program.in_process import Program
from tests.local import LocalAws, declare_table

Deployed = Callable[..., Deployment]


def queues(aws: LocalAws, prefix: str) -> list[str]:
    return aws.client("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])


def test_resources_of_a_program_are_created_and_deleted(aws: LocalAws):
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
    assert [each.registration.name for each in deployment.resources] == ["deploy-one"]
    deployment.destroy()
    assert queues(aws, "deploy-one-") == []


def add_refused(first: aws_resources.sqs.Queue) -> None:
    aws_resources.iam.RolePolicy("rights", role="nobody", policy=first.arn.apply(lambda arn: "{}"))


def raise_error(first: aws_resources.sqs.Queue) -> None:
    raise pulumi.RunError("two errors in the configuration")


def add_again(first: aws_resources.sqs.Queue) -> None:
    aws_resources.sqs.Queue("deploy-two")


URN = "urn:pulumi:local::table-stream::aws:sqs/queue:Queue::deploy-two"


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (add_refused, DeployError, "^aws:iam/rolePolicy:RolePolicy rights could not be created: .*nobody"),
        (raise_error, pulumi.RunError, "two errors"),
        (add_again, DeployError, f"^{URN} is registered twice: resources of one type and parent need differ"),
    ],
)
def test_a_failed_run_leaves_nothing(aws: LocalAws, fail: Callable[..., None], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        aws.deploy(lambda: fail(aws_resources.sqs.Queue("deploy-two")), config={})
    assert queues(aws, "deploy-two-") == []


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

    assert len(deployed(apart, config={}).resources) == 3
    with pytest.raises(DeployError, match=r"^urn:pulumi:local::table-stream::table-stream:index:Thing::one is registe"):
        aws.deploy(twice, config={})


def test_destroy_names_what_it_cannot_delete_and_deletes_the_rest(aws: LocalAws):
    def program() -> None:
        aws_resources.sqs.Queue("deploy-four")
        pulumi.export("bucket", aws_resources.s3.Bucket("deploy-four").bucket)

    deployment = aws.deploy(program, config={})
    bucket = deployment.outputs["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=b"")
    with pytest.raises(DeployError, match=f"could not be deleted: aws:s3/bucket:Bucket {bucket}: .*BucketNotEmpty"):
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
    attributes = [aws_resources.dynamodb.TableAttributeArgs(name=key, type="S")]
    pulumi.export("table", declare_table("again-table", hash_key=key, attributes=attributes).name)


def test_another_run_changes_what_differs_and_nothing_else(deployed: Deployed, aws: LocalAws):
    def first() -> None:
        queue("again-same")
        queue("again-changed", delay_seconds=1)
        queue("again-deleted")
        table("id")

    def second() -> None:
        queue("again-new")
        table("other")
        queue("again-changed", delay_seconds=2)
        queue("again-same")

    deployment = deployed(first, config={})
    before = deployment.outputs
    aws.write(before["table"], {"id": "1"})
    assert aws.sandbox.redeploy(deployment, Program(first, config={})) == []
    assert deployment.outputs == before
    assert aws.items(before["table"]) == [{"id": "1"}]

    changes = aws.sandbox.redeploy(deployment, Program(second, config={}))
    after = deployment.outputs
    tables = ["again-table created", "again-table deleted"]
    assert changes == ["again-changed", "again-deleted deleted", "again-new created", *tables]
    assert all(after[name] == before[name] for name in ("again-same", "again-changed"))
    assert after["table"] != before["table"]
    assert set(queues(aws, "again-")) == {url for name, url in after.items() if name != "table"}
    changed = aws.client("sqs").get_queue_attributes(QueueUrl=after["again-changed"], AttributeNames=["DelaySeconds"])
    assert changed["Attributes"] == {"DelaySeconds": "2"}
    tables = aws.client("dynamodb").list_tables()["TableNames"]
    assert [name for name in tables if name.startswith("again-table")] == [after["table"]]
    resources = {each.registration.name for each in deployment.resources}
    assert resources == {"again-same", "again-changed", "again-new", "again-table"}


def test_a_failing_run_leaves_existing_resources(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        queue("left-one")
        queue("left-two")

    def failing() -> None:
        queue("left-one")
        raise pulumi.RunError("a typo")

    deployment = deployed(program, config={})
    with pytest.raises(pulumi.RunError, match="a typo"):
        aws.sandbox.redeploy(deployment, Program(failing, config={}))
    assert set(queues(aws, "left-")) == set(deployment.outputs.values())
    assert aws.sandbox.redeploy(deployment, Program(program, config={})) == []


def test_a_later_run_retries_a_failed_deletion(deployed: Deployed, aws: LocalAws):
    def program() -> None:
        pulumi.export("bucket", aws_resources.s3.Bucket("kept").bucket)

    deployment = deployed(program, config={})
    bucket = deployment.outputs["bucket"]
    aws.client("s3").put_object(Bucket=bucket, Key="kept", Body=b"")
    with pytest.raises(DeployError, match=f"could not be deleted: aws:s3/bucket:Bucket {bucket}: .*BucketNotEmpty"):
        aws.sandbox.redeploy(deployment, Program(lambda: None, config={}))
    aws.client("s3").delete_object(Bucket=bucket, Key="kept")
    assert aws.sandbox.redeploy(deployment, Program(lambda: None, config={})) == ["kept deleted"]


def test_a_changed_trigger_replaces_and_a_first_one_does_not(deployed: Deployed, aws: LocalAws):
    """As in the engine, a missing trigger is not a value."""

    def program(trigger: object) -> Callable[[], None]:
        def run() -> None:
            created = aws_resources.sqs.Queue("trigger", opts=pulumi.ResourceOptions(replacement_trigger=trigger))
            pulumi.export("url", created.url)

        return run

    deployment = deployed(program(None), config={})
    first = deployment.outputs["url"]
    assert aws.sandbox.redeploy(deployment, Program(program("S"), config={})) == []
    assert deployment.outputs["url"] == first
    assert aws.sandbox.redeploy(deployment, Program(program("N"), config={})) == ["trigger created", "trigger deleted"]
    assert deployment.outputs["url"] != first


def test_replace_on_changes_replaces(deployed: Deployed, aws: LocalAws):
    def program(seconds: int) -> Callable[[], None]:
        opts = pulumi.ResourceOptions(replace_on_changes=["delaySeconds"])
        return lambda: pulumi.export("url", aws_resources.sqs.Queue("wish", delay_seconds=seconds, opts=opts).url)

    deployment = deployed(program(1), config={})
    assert aws.sandbox.redeploy(deployment, Program(program(2), config={})) == ["wish created", "wish deleted"]
