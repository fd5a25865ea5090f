"""A table and a consumer of it, as the tests of the guard-rails declare them."""

from typing import Any

from infra.archive import build
from infra.consumer import Environment, StreamConsumer
from infra.settings import Tuning
from infra.stores import Stores
from infra.table import Changes, StreamTable, ViewType
from tests.consumers.project import SAMPLE


def table(protect: bool, name: str = "orders", view_type: ViewType = "NEW_AND_OLD_IMAGES") -> StreamTable:
    return StreamTable(name, key="id", view_type=view_type, protect=protect)


def consumer(
    *reads: Changes, name: str = "mirror", environment: Environment | None = None, **options: Any
) -> StreamConsumer:
    options = {"tuning": Tuning(), "package": build("host", SAMPLE)} | options
    if "stores" not in options:
        options["stores"] = Stores("stores", retention_in_days=30)
    return StreamConsumer(name, reads=reads, environment=environment or {}, **options)
