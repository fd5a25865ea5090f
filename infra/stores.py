"""The component Stores: the failure bucket and the ledger, which keep failures, notes, claims and holds."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra.encryption import EncryptionKey, encrypted_with
from infra.internal.registry import Children
from infra.rules.mappings import DAY_SECONDS


class Stores(pulumi.ComponentResource):
    """The failure bucket and the ledger table, which all consumers share.

    Parameters
    ----------
    retention_in_days
        Days for which the failure bucket keeps a failure, for a redrive.
    encryption_key
        The key that encrypts both, and the consumers' logs and variables. The default is keys that AWS owns.
    protect
        Protect both from deletion. Without protection, the bucket is deleted with its objects.
    """

    bucket: aws.s3.Bucket
    ledger: aws.dynamodb.Table
    account: pulumi.Output[str]  # of both
    key_arn: pulumi.Output[str] | None
    consumers: dict[str, str]  # the consumers that use these stores, by their names in the ledger
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
                        "bucket_key_enabled": True,  # fewer calls of KMS
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
            point_in_time_recovery={"enabled": True},  # a lost claim repeats an effect
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
        """Register the consumer under its name in the ledger.

        Raises
        ------
        pulumi.RunError
            Another consumer has this name in the ledger.
        """
        if other := self.consumers.get(ledger_name):
            raise pulumi.RunError(
                f"{consumer} and {other} would both be {ledger_name} in the ledger, and each would run the items that "
                "the other holds; when the ledger holds none of them, remove former_name= from the consumer that has "
                "it"
            )
        self.consumers[ledger_name] = consumer

    def remember_seconds(self, give_up_after: int) -> int:
        """Return the seconds for which the ledger keeps a claim, and a target a tombstone.

        They must outlast every delivery of a change. The stream keeps a change for 24 h, the engine retries it for
        `give_up_after` seconds, and a redrive can repeat it while the failure bucket keeps it.
        """
        return self._retention + give_up_after + DAY_SECONDS


def _policy(bucket: pulumi.Output[str], account: pulumi.Output[str]) -> pulumi.Output[str]:
    """Return the bucket policy, which denies requests without TLS and requests of other accounts."""

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
