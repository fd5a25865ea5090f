"""The component EncryptionKey: a customer managed key for the data of a stack."""

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

    Separate keys would protect nothing: a principal who may read a table can read its changes in the log and in the
    failures too. Each role has the permissions that its consumer needs (`infra.grants`), each through one service only.
    The deploying principal needs kms:CreateGrant, kms:DescribeKey, kms:Encrypt, kms:Decrypt, kms:ReEncrypt* and
    kms:GenerateDataKey*, since DynamoDB and Lambda create their grants with its permissions (DynamoDB: encryption at
    rest usage notes; Lambda: securing environment variables).

    Parameters
    ----------
    protect
        Refuse updates that remove the key from the program.

    The key stays in AWS when it is removed from the program, or its stack is destroyed: backups, failures and logs
    could not be read without it. Delete the key by hand when nothing needs it any more.
    """

    arn: pulumi.Output[str]

    def __init__(self, name: str, *, protect: bool = False, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:EncryptionKey", name, {}, opts)
        children = Children(self, protect=protect)
        key = children.make(
            aws.kms.Key,
            f"{name}-key",
            description=f"Data of {pulumi.get_project()} in stack {pulumi.get_stack()}",
            enable_key_rotation=True,
            deletion_window_in_days=30,  # KMS's maximum, as time to cancel the deletion
            policy=_policy(pulumi.InvokeOutputOptions(parent=self)),
            opts=pulumi.ResourceOptions(retain_on_delete=True),
        )
        children.make(
            aws.kms.Alias,
            f"{name}-alias",
            # KMS requires the prefix, which Pulumi does not add, and refuses the dots that a stack's name may have.
            name="alias/" + re.sub("[^a-zA-Z0-9/_-]", "-", f"{pulumi.get_project()}-{pulumi.get_stack()}-{name}"),
            target_key_id=key.key_id,
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})
        children.registry.check()


def encrypted_with(key: EncryptionKey | None) -> aws.dynamodb.TableServerSideEncryptionArgsDict:
    """Return the `server_side_encryption` of a table: with the key, or with one that DynamoDB owns."""
    return {"enabled": True, "kms_key_arn": key.arn} if key else {"enabled": False}


def _policy(opts: pulumi.InvokeOutputOptions) -> pulumi.Output[str]:
    """Return the key policy: IAM policies decide, and CloudWatch Logs and Lambda may use the key for this account."""
    caller = aws.get_caller_identity_output(opts=opts)
    partition = caller.arn.apply(lambda arn: arn.split(":")[1])
    region = aws.get_region_output(opts=opts).region
    # Without this statement, IAM policies have no effect on the key, and a policy that names only deleted roles cannot
    # be corrected (KMS: default key policy).
    administration = {
        "Sid": "AdministrationByIam",
        "Effect": "Allow",
        "Principal": {"AWS": pulumi.Output.format("arn:{0}:iam::{1}:root", partition, caller.account_id)},
        "Action": "kms:*",
        "Resource": "*",
    }
    # CloudWatch Logs itself encrypts, not a role (CloudWatch Logs: encrypt log data using KMS). The key exists before
    # the log groups, so the statement cannot name them.
    groups = pulumi.Output.format("arn:{0}:logs:{1}:{2}:log-group:*", partition, region, caller.account_id)
    logs = {
        "Sid": "LogsOfThisAccount",
        "Effect": "Allow",
        "Principal": {"Service": pulumi.Output.format("logs.{0}.amazonaws.com", region)},
        "Action": [f"kms:{use}" for use in LOG_ACTIONS],
        "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    }
    # Lambda itself decrypts the filters of a mapping, not a role, and names the function in the encryption context
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
