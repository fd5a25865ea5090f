"""The components in a program of somebody else's, with a name, settings and consumers of its own."""

from pathlib import Path

import pulumi
import pytest

from sandbox.program.in_process import Program, run
from tests.program import recording as kinds
from tests.program.recording import RecordingBackend, physical

PROGRAM = """
from pathlib import Path

import pulumi

from infra.alarms import Alarms
from infra.archive import build
from infra.consumer import StreamConsumer
from infra.settings import AlarmSettings, Tuning
from infra.stores import Stores
from infra.table import StreamTable

pulumi.Config().require("colour")
stores = Stores("stores", retention_in_days=7)
baskets = StreamTable("baskets", key="id")
package, tuning = build("host", Path(__file__).parent), Tuning()
watch = StreamConsumer(
    "price-watch", reads=[baskets.changes()], environment={}, stores=stores, tuning=tuning, package=package
)
Alarms("on-call", consumers=[watch], settings=AlarmSettings(page_to="on-call@example.com"))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The directory of a program `shop`, beside this one."""
    (tmp_path / "handler" / "stream").mkdir(parents=True)
    (tmp_path / "handler" / "price_watch.py").write_text("def handler(event, context): ...\n")
    (tmp_path / "handler" / "requirements.in").write_text("")
    (tmp_path / "handler" / "requirements.txt").write_text("")
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    return tmp_path


def test_settings_of_another_program_are_its_own(shop: Path) -> None:
    recorder = RecordingBackend()
    run(Program(shop, stack="test", config={"shop:colour": "red"}), recorder)
    function = recorder.one(kinds.FUNCTION, "price-watch-function").inputs
    assert function["handler"] == "handler.price_watch.handler"
    assert function["environment"]["variables"]["POWERTOOLS_METRICS_NAMESPACE"] == "shop"
    assert function["environment"]["variables"]["LEDGER_TABLE"] == physical("stores-ledger")
    assert Path(function["code"].path).parent == shop / ".cache"


def test_its_alarms_watch_its_own_metrics(shop: Path) -> None:
    recorder = RecordingBackend()
    run(Program(shop, stack="test", config={"shop:colour": "red"}), recorder)
    held = recorder.one(kinds.ALARM, "on-call-price-watch-held").inputs
    assert (held["namespace"], held["dimensions"]) == ("shop", {"service": "price-watch"})
    assert recorder.one(kinds.COMPOSITE, "on-call-price-watch-page").inputs["alarmName"] == "shop-test-price-watch-page"
    assert recorder.one(kinds.DASHBOARD, "on-call-dashboard").inputs["dashboardName"] == "shop-test"


def test_its_consumers_are_looked_for_where_its_package_is(shop: Path) -> None:
    (shop / "handler" / "price_watch.py").rename(shop / "handler" / "prize_watch.py")
    with pytest.raises(pulumi.RunError, match=r"no handler/price_watch.py; did you mean prize_watch\?"):
        run(Program(shop, stack="test", config={"shop:colour": "red"}), RecordingBackend())
