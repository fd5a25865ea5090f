"""A key of one's own for what the program keeps, where the stack asks for one."""

import pulumi
import pulumi_aws as aws

USES = ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext")


class EncryptionKey(pulumi.ComponentResource):
    """One KMS key for tables, stores, logs and functions' variables.

    One for all: whoever may read a table reads its changes in the log and the failures too, so keys apart would part
    nothing. What a consumer may do with it stands in its role (`infra.grants`), each use through one service only. Who
    deploys needs kms:CreateGrant, kms:DescribeKey, kms:Encrypt, kms:Decrypt, kms:ReEncrypt* and kms:GenerateDataKey*
    for DynamoDB and Lambda, which make their grants with his rights (DynamoDB: encryption at rest usage notes; Lambda:
    securing environment variables).

    Parameters
    ----------
    protect
        Keep it from being deleted. What it has encrypted, backups, failures and logs too, goes with it.
    """

    arn: pulumi.Output[str]

    def __init__(self, name: str, *, protect: bool = False, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:EncryptionKey", name, {}, opts)
        made = aws.kms.Key(
            f"{name}-key",
            description=f"What {pulumi.get_project()} keeps in stack {pulumi.get_stack()}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if protect else 7,  # KMS's most and least, to change one's mind in
            policy=_policy(),
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.kms.Alias(
            f"{name}-alias",
            name=f"alias/{pulumi.get_project()}-{pulumi.get_stack()}-{name}",  # Pulumi's names lack what KMS asks for
            target_key_id=made.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = made.arn
        self.register_outputs({"arn": self.arn})


def _policy() -> pulumi.Output[str]:
    """The key's own policy: the account rules it by IAM, and CloudWatch Logs encrypts the account's logs with it."""
    caller = aws.get_caller_identity_output()
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output().region
    # Without it IAM policies have no effect on the key, and nobody can mend a policy that names only roles that are
    # gone (KMS: default key policy).
    administration = {
        "Sid": "AdministrationByIam",
        "Effect": "Allow",
        "Principal": {"AWS": pulumi.Output.format("arn:{0}:iam::{1}:root", partition, caller.account_id)},
        "Action": "kms:*",
        "Resource": "*",
    }
    # The service itself encrypts, for no role (CloudWatch Logs: encrypt log data using KMS). No group's name can stand
    # here: groups are made with the key.
    groups = pulumi.Output.format("arn:{0}:logs:{1}:{2}:log-group:*", partition, region, caller.account_id)
    logs = {
        "Sid": "LogsOfThisAccount",
        "Effect": "Allow",
        "Principal": {"Service": pulumi.Output.format("logs.{0}.amazonaws.com", region)},
        "Action": [f"kms:{use}" for use in USES],
        "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    }
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [administration, logs]})
