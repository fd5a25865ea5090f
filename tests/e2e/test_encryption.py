"""The whole program with a key of its own: it processes changes, and whatever it keeps is marked with that key.

That AWS encrypts with it, and lets the roles use it, only AWS can show: the emulator's services call no KMS.
"""

from collections.abc import Callable

from sandbox.program.deploy import Deployment
from sandbox.program.in_process import stack_config
from tests.local import LocalAws


def test_with_a_key_of_its_own_the_program_works_and_keeps_everything_under_it(
    aws: LocalAws, deployed: Callable[..., Deployment]
):
    deployment = deployed(config=stack_config("local") | {"encryption": "customer"})
    outputs, kms = deployment.outputs, aws.client("kms")
    [key] = [made.outputs["arn"] for made in deployment.made if made.registration.type == "aws:kms/key:Key"]
    alias = "alias/table-stream-local-encryption"
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"] == key
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True

    tables, failures = outputs["tables"], outputs["stores"]["failures"]["bucket"]
    aws.write(tables["users"]["name"], {"id": "key", "email": "key@example.com", "language": "xx"})
    aws.write(tables["orders"]["name"], {"customer_id": "key", "order_id": "1"})
    aws.settle()
    assert [item["order_id"] for item in aws.items(tables["orders-mirror"]["name"])] == ["1"]
    [parked] = aws.objects(failures)
    found = aws.client("s3").head_object(Bucket=failures, Key=parked)
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key)

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
