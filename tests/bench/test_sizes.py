"""The measured functions have their real effects, in another process. CPU times are not tested here."""

from bench.questions.sizes import BATCH, LEDGER, MIRROR, batch_seconds, make_tables
from sandbox.emulator import Emulator


def test_the_measured_functions_have_their_effects():
    with Emulator("eu-central-1") as emulator:
        make_tables(emulator)
        for kind in ("put_if_newer", "claim"):
            assert batch_seconds(kind, emulator, batches=1) > 0
        dynamodb = emulator.client("dynamodb")
        mirrored = dynamodb.scan(TableName=MIRROR)["Items"]
        claims = dynamodb.scan(TableName=LEDGER)["Items"]
    assert sorted(int(item["n"]["N"]) for item in mirrored) == list(range(BATCH, 2 * BATCH))
    assert [item["status"]["S"] for item in claims] == ["COMPLETED"] * 2 * BATCH
