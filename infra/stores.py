"""Where consumers keep what outlives an invocation: failures, notes, claims, and what is held."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra.encryption import EncryptionKey, encrypted_with
from infra.internal.registry import Children
from infra.rules.mappings import DAY_SECONDS


class Stores(pulumi.ComponentResource):
    """The failure bucket and the ledger table, shared by every consumer.

    Parameters
    ----------
    retention_in_days
        How long a failure is kept for redriving.
    encryption_key
        What encrypts both, and the consumers' logs and variables; keys of AWS's own unless given.
    protect
        Keep both from being deleted; without it the bucket goes with what it holds.
    """

    bucket: aws.s3.Bucket
    ledger: aws.dynamodb.Table
    account: pulumi.Output[str]  # that both are in
    key_arn: pulumi.Output[str] | None
    consumers: dict[str, str]  # those that keep something here, by their names in the ledger
    outputs: Mapping[str, Mapping[str, pulumi.Output[str]]]

    def __init__(
        self,
        name: str,
        *,
        retention_in_days: int,
        encryption_key: EncryptionKey | None = None,
        protect: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:Stores", name, {}, opts)
        children = Children(self, protect=protect)
        self.key_arn = encryption_key.arn if encryption_key else None
        self.consumers = {}
        self._retention = retention_in_days * DAY_SECONDS
        self.bucket = children.make(aws.s3.Bucket, f"{name}-failures", force_destroy=not protect)
        children.make(
            aws.s3.BucketPublicAccessBlock,
            f"{name}-failures-private",
            bucket=self.bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
        )
        children.make(
            aws.s3.BucketLifecycleConfiguration,
            f"{name}-failures-expiry",
            bucket=self.bucket.bucket,
            rules=[
                {
                    "id": "expiry",
                    "status": "Enabled",
                    "filter": {},
                    "expiration": {"days": retention_in_days},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
                }
            ],
        )
        if self.key_arn:
            children.make(
                aws.s3.BucketServerSideEncryptionConfiguration,
                f"{name}-failures-encryption",
                bucket=self.bucket.bucket,
                rules=[
                    {
                        "apply_server_side_encryption_by_default": {
                            "sse_algorithm": "aws:kms",
                            "kms_master_key_id": self.key_arn,
                        },
                        "bucket_key_enabled": True,  # one call of KMS for many objects
                    }
                ],
            )
        self.ledger = children.make(
            aws.dynamodb.Table,
            f"{name}-ledger",
            attributes=[{"name": "pk", "type": "S"}, {"name": "sk", "type": "S"}],
            hash_key="pk",
            range_key="sk",
            billing_mode="PAY_PER_REQUEST",
            ttl={"attribute_name": "expiry", "enabled": True},
            point_in_time_recovery={"enabled": True},  # a lost claim is an effect twice
            server_side_encryption=encrypted_with(encryption_key),
            deletion_protection_enabled=protect,
        )
        self.account = self.ledger.arn.apply(lambda arn: arn.split(":")[4])
        children.make(
            aws.s3.BucketPolicy,
            f"{name}-failures-policy",
            bucket=self.bucket.bucket,
            policy=_policy(self.bucket.arn, self.account),
        )
        self.outputs = {
            "failures": {"bucket": self.bucket.bucket, "arn": self.bucket.arn},
            "ledger": {"name": self.ledger.name, "arn": self.ledger.arn},
        }
        self.register_outputs(self.outputs)
        children.registry.check()

    def register_consumer(self, consumer: str, ledger_name: str) -> None:
        """Note that `consumer` keeps what is its own under `ledger_name`.

        Raises
        ------
        pulumi.RunError
            Another consumer does.
        """
        if other := self.consumers.get(ledger_name):
            raise pulumi.RunError(
                f"{consumer} and {other} would both be {ledger_name} in the ledger, and each would run what the other "
                "holds: once nothing is held there, take former_name= from the one that has it"
            )
        self.consumers[ledger_name] = consumer

    def remember_seconds(self, give_up_after: int) -> int:
        """How long a claim and a tombstone are kept: longer than anything can come again.

        A change fails for `give_up_after` seconds at most, and may be redriven from the failure bucket until that
        forgets it. The day beside these is the stream's 24 h.
        """
        return self._retention + give_up_after + DAY_SECONDS


def _policy(bucket: pulumi.Output[str], account: pulumi.Output[str]) -> pulumi.Output[str]:
    """What no right of a role's overrides: nothing without TLS, nobody of another account."""

    def deny(sid: str, **condition: Mapping[str, pulumi.Input[str]]) -> Mapping[str, object]:
        resources = [bucket, pulumi.Output.format("{0}/*", bucket)]
        return {"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources} | {
            "Condition": condition
        }

    return pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                deny("TlsOnly", Bool={"aws:SecureTransport": "false"}),
                deny("ThisAccountOnly", StringNotEquals={"aws:PrincipalAccount": account}),
            ],
        }
    )
