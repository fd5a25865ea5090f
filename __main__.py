"""The program: settings, key, tables, stores, consumers, alarms, stack outputs."""

import pulumi

from infra.alarms import Alarms
from infra.archive import build
from infra.consumer import StreamConsumer
from infra.encryption import EncryptionKey
from infra.filters import exists
from infra.grants import put_if_newer_into, send_email_from
from infra.settings import Settings
from infra.stores import Stores
from infra.table import StreamTable

settings = Settings.load()
package = build(settings.target, bytecode=settings.bytecode)

encryption_key = EncryptionKey("encryption", protect=settings.protect) if settings.encryption == "customer" else None

users = StreamTable(
    "users",
    key="id",
    encryption_key=encryption_key,
    protect=settings.protect,
    confirmed_drained=settings.confirmed_drained.get("users"),
)
orders = StreamTable(
    "orders",
    key="customer_id",
    sort="order_id",
    encryption_key=encryption_key,
    protect=settings.protect,
    confirmed_drained=settings.confirmed_drained.get("orders"),
)
orders_mirror = StreamTable(
    "orders-mirror",
    key="customer_id",
    sort="order_id",
    ttl="expiry",  # DynamoDB deletes the tombstones of removed orders
    encryption_key=encryption_key,
    protect=settings.protect,
    confirmed_drained=settings.confirmed_drained.get("orders-mirror"),
)

stores = Stores(
    "stores",
    retention_in_days=settings.failure_retention_in_days,
    encryption_key=encryption_key,
    protect=settings.protect,
)

consumers = [
    StreamConsumer(
        "change-log",
        reads=[users.changes(), orders.changes()],
        environment={},
        stores=stores,
        tuning=settings.tuning("change-log"),
        package=package,
    ),
    StreamConsumer(
        "mirror",
        reads=[orders.changes()],
        environment={"MIRROR_TABLE": put_if_newer_into(orders_mirror)},
        images="NEW_IMAGE",
        stores=stores,
        tuning=settings.tuning("mirror"),
        package=package,
    ),
]
if settings.mail_from:
    consumers.append(
        StreamConsumer(
            "welcome-email",
            reads=[users.changes("INSERT", new={"email": exists(str)})],
            environment={"MAIL_FROM": send_email_from(settings.mail_from)},
            images="NEW_IMAGE",
            stores=stores,
            tuning=settings.tuning("welcome-email"),
            package=package,
        )
    )

alarms = Alarms("alarms", consumers=consumers, settings=settings.alarms)

pulumi.export("tables", {table.name: table.outputs for table in (users, orders, orders_mirror)})
pulumi.export("consumers", {consumer.name: alarms.outputs_of(consumer) for consumer in consumers})
pulumi.export("stores", stores.outputs)
