"""Log every change of every table that the consumer reads."""

from handler.stream import Change, consumer
from handler.stream.telemetry import logger


@consumer
def handler(change: Change) -> None:
    """Log the change as its stream recorded it."""
    logger.info("change", event_id=change.event_id, event_name=change.event_name, dynamodb=change.raw["dynamodb"])
