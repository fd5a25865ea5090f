"""The failure bucket and the ledger."""

import json

import pytest

from infra.stores import Stores
from tests.program import recording as kinds
from tests.program.recording import ACCOUNT, physical, record


@pytest.mark.parametrize(("days", "seconds"), [(1, 172_860), (30, 2_678_460)])
def test_claims_outlive_what_is_held_the_failures_and_the_stream(days: int, seconds: int) -> None:
    created: list[Stores] = []
    recorder = record(lambda: created.append(Stores("stores", retention_in_days=days)))
    assert created[0].remember_seconds(give_up_after=60) == seconds
    assert recorder.one(kinds.BUCKET_EXPIRY, "stores-failures-expiry").inputs == {
        "bucket": physical("stores-failures"),
        "rules": [
            {
                "id": "expiry",
                "status": "Enabled",
                "filter": {},
                "expiration": {"days": days},
                "abortIncompleteMultipartUpload": {"daysAfterInitiation": 1},
            }
        ],
    }


def test_nothing_of_the_failure_bucket_may_be_public() -> None:
    recorder = record(lambda: Stores("stores", retention_in_days=30))
    assert recorder.one(kinds.BUCKET_PRIVATE, "stores-failures-private").inputs == {
        "bucket": physical("stores-failures"),
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }


def test_the_failure_bucket_refuses_what_comes_without_tls_or_from_another_account() -> None:
    recorder = record(lambda: Stores("stores", retention_in_days=30))
    inputs = recorder.one(kinds.BUCKET_POLICY, "stores-failures-policy").inputs
    bucket = f"arn:aws:s3:::{physical('stores-failures')}"
    of_others = {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]}
    assert (inputs.keys(), inputs["bucket"]) == ({"bucket", "policy"}, physical("stores-failures"))
    assert json.loads(inputs["policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "TlsOnly", **everything, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Sid": "ThisAccountOnly", **everything, "Condition": of_others},
        ],
    }
