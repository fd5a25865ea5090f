"""A key of one's own for what the program keeps, where the stack asks for one."""

import re

import pulumi
import pulumi_aws as aws

from infra.internal.registry import Children

LOG_ACTIONS = (
    "Encrypt",
    "Decrypt",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
)


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
        Keep it in the program.

    Taken out of the program, or destroyed with its stack, the key stays in AWS, since nobody could read without it what
    it has encrypted, such as backups, failures and logs. Delete it by hand when nothing needs it any more.
    """

    arn: pulumi.Output[str]

    def __init__(self, name: str, *, protect: bool = False, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:EncryptionKey", name, {}, opts)
        children = Children(self, protect=protect)
        made = children.make(
            aws.kms.Key,
            f"{name}-key",
            description=f"What {pulumi.get_project()} keeps in stack {pulumi.get_stack()}",
            enable_key_rotation=True,
            deletion_window_in_days=30,  # KMS's most, to change one's mind in
            policy=_policy(pulumi.InvokeOutputOptions(parent=self)),
            opts=pulumi.ResourceOptions(retain_on_delete=True),
        )
        children.make(
            aws.kms.Alias,
            f"{name}-alias",
            # Pulumi's names lack the prefix that KMS asks for, and KMS takes no dot of a stack's name.
            name="alias/" + re.sub("[^a-zA-Z0-9/_-]", "-", f"{pulumi.get_project()}-{pulumi.get_stack()}-{name}"),
            target_key_id=made.key_id,
        )
        self.arn = made.arn
        self.register_outputs({"arn": self.arn})
        children.registry.check()


def encrypted_with(key: EncryptionKey | None) -> aws.dynamodb.TableServerSideEncryptionArgsDict:
    """The `server_side_encryption` of a table; without a key, that DynamoDB encrypts with one of its own."""
    return {"enabled": True, "kms_key_arn": key.arn} if key else {"enabled": False}


def _policy(opts: pulumi.InvokeOutputOptions) -> pulumi.Output[str]:
    """The key's own policy: IAM rules it, and CloudWatch Logs and Lambda use it for what the account has there."""
    caller = aws.get_caller_identity_output(opts=opts)
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output(opts=opts).region
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
        "Action": [f"kms:{use}" for use in LOG_ACTIONS],
        "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    }
    # Lambda decrypts the filters of a mapping itself, for no role, and names the function in the encryption context
    # (Lambda: encryption of filter criteria, November 2026).
    functions = pulumi.Output.format("arn:{0}:lambda:{1}:{2}:function:*", partition, region, caller.account_id)
    filters = {
        "Sid": "FiltersOfThisAccount",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:aws:lambda:FunctionArn": functions}},
    }
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [administration, logs, filters]})
