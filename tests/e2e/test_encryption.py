"""The whole program with a customer managed key: it processes changes, and all its stores name that key.

The emulator's services do not call KMS, so only AWS can show that the roles may use the key.
"""

from collections.abc import Callable

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import stack_config
from tests.consumers.project import SAMPLE
from tests.local import LocalAws


def test_the_program_works_with_a_customer_key_and_uses_it_everywhere(
    aws: LocalAws, deployed: Callable[..., Deployment]
):
    deployment = deployed(config=stack_config("local", SAMPLE) | {"encryption": "customer"})
    outputs, kms = deployment.outputs, aws.client("kms")
    [key] = [each.outputs["arn"] for each in deployment.resources if each.registration.type == "aws:kms/key:Key"]
    alias = "alias/table-stream-local-encryption"
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"] == key
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True

    tables, failures = outputs["tables"], outputs["stores"]["failures"]["bucket"]
    aws.write(tables["users"]["name"], {"id": "key", "email": "key@example.com", "language": "xx"})
    aws.write(tables["orders"]["name"], {"customer_id": "key", "order_id": "1"})
    aws.wait_until_idle()
    assert [item["order_id"] for item in aws.items(tables["orders-mirror"]["name"])] == ["1"]
    [parked] = aws.objects(failures)
    stored = aws.client("s3").head_object(Bucket=failures, Key=parked)
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", key)

    names = [table["name"] for table in tables.values()] + [outputs["stores"]["ledger"]["name"]]
    described = [aws.client("dynamodb").describe_table(TableName=name)["Table"] for name in names]
    assert [table["SSEDescription"]["KMSMasterKeyArn"] for table in described] == [key] * 4
    for consumer in outputs["consumers"].values():
        configuration = aws.client("lambda").get_function_configuration(FunctionName=consumer["function"])
        assert configuration["KMSKeyArn"] == key
        groups = aws.client("logs").describe_log_groups(logGroupNamePrefix=consumer["logGroup"])["logGroups"]
        assert [group["kmsKeyId"] for group in groups] == [key]

    deployment.destroy()
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert alias not in [each["AliasName"] for each in kms.list_aliases()["Aliases"]]
