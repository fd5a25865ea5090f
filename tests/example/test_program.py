"""The example's program as it is shipped: the demo runs it, and no stack file causes a warning."""

import logging
import re
import time
from io import StringIO

import pytest
from rich.console import Console

from sandbox import ROOT
from sandbox.demo.run import Demo
from sandbox.demo.workload import FAILING_ORDER
from tests.program.recording import record_program, stacks

for _name in ("mirror", "welcome_email"):
    pytest.importorskip(f"handler.{_name}", reason="the example is gone: delete tests/example, too")


class Sabotaged(Demo):
    """Breaks each promise after all changes are processed."""

    def check_promises(self) -> bool:
        outputs, client = self.deployment.outputs, self.sandbox.aws.client
        client("dynamodb").delete_item(
            TableName=outputs["tables"]["orders-mirror"]["name"],
            Key={"customer_id": {"S": "c1"}, "order_id": {"S": "1"}},
        )
        client("sesv2").send_email(
            FromEmailAddress="hello@example.com",
            Destination={"ToAddresses": ["user1@example.com"]},
            Content={"Simple": {"Subject": {"Data": "again"}, "Body": {"Text": {"Data": ""}}}},
        )
        bucket = outputs["stores"]["failures"]["bucket"]
        for found in client("s3").list_objects_v2(Bucket=bucket)["Contents"]:
            client("s3").delete_object(Bucket=bucket, Key=found["Key"])
        self.mirror_writes.versions.append((FAILING_ORDER, 1))
        self.mirror_writes.written_at["1", 1] += 60
        return super().check_promises()


@pytest.mark.timeout(300)
def test_the_demo_runs_the_example_and_says_which_promise_is_broken():
    """Everything is processed before the sabotage: `complete` would otherwise count more."""
    out = StringIO()
    assert not Sabotaged(Console(file=out, width=120), time.monotonic()).run()
    printed = [line.rstrip() for line in out.getvalue().splitlines() if line.startswith("✖")]
    assert printed[0].startswith("✖ order      1 of 240 out of order")
    assert printed[1].startswith("✖ once       11 users, 12 mails")
    assert printed[2] == "✖ complete   mirror equals orders       39 of 40"
    assert printed[3] == "✖ kept       0 failures, in the failure bucket"
    assert re.match(r"✖ prompt     others at most 6\d\.\d s late ", printed[4])


@pytest.mark.parametrize("stack", stacks(ROOT))
def test_no_stack_causes_a_warning(stack: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "pulumi")
    record_program(ROOT, stack, mailFrom="shop@example.com")
    assert [each.message for each in caplog.records] == []
