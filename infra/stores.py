"""Where consumers keep what outlives an invocation: failures, notes and claims."""

from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from infra.guard import check_name
from infra.resource import BUCKET
from infra.rules import DAY


class Stores(pulumi.ComponentResource):
    """The failure bucket and the ledger table, shared by every consumer.

    Parameters
    ----------
    retention_in_days
        How long a failure is kept for redriving. Claims and tombstones are kept a day longer: longer than anything can
        come again, from the stream (24 h) or from the failure bucket.
    protect
        Keep both from being deleted; without it the bucket goes with what it holds.
    """

    bucket: aws.s3.Bucket
    ledger: aws.dynamodb.Table
    account: pulumi.Output[str]  # that both are in
    remember_seconds: int  # how long a claim and a tombstone are kept
    outputs: Mapping[str, Mapping[str, pulumi.Output[str]]]

    def __init__(
        self, name: str, *, retention_in_days: int, protect: bool = False, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        check_name(BUCKET, f"{name}-failures")
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=protect or None))
        super().__init__("table-stream:index:Stores", name, {}, opts)
        self.remember_seconds = (retention_in_days + 1) * DAY
        self.bucket = aws.s3.Bucket(
            f"{name}-failures", force_destroy=not protect, opts=pulumi.ResourceOptions(parent=self)
        )
        aws.s3.BucketPublicAccessBlock(
            f"{name}-failures-private",
            bucket=self.bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-failures-expiry",
            bucket=self.bucket.bucket,
            rules=[{"id": "expiry", "status": "Enabled", "filter": {}, "expiration": {"days": retention_in_days}}],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.ledger = aws.dynamodb.Table(
            f"{name}-ledger",
            attributes=[{"name": "pk", "type": "S"}, {"name": "sk", "type": "S"}],
            hash_key="pk",
            range_key="sk",
            billing_mode="PAY_PER_REQUEST",
            ttl={"attribute_name": "expiry", "enabled": True},
            point_in_time_recovery={"enabled": True},  # a lost claim is an effect twice
            deletion_protection_enabled=protect,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.account = self.ledger.arn.apply(lambda arn: arn.split(":")[4])
        self.outputs = {
            "failures": {"bucket": self.bucket.bucket, "arn": self.bucket.arn},
            "ledger": {"name": self.ledger.name, "arn": self.ledger.arn},
        }
        self.register_outputs(self.outputs)
