"""Keeps a second table equal to the first, whatever is delivered twice or late."""

import os

from handler.stream import Change, consumer, put_if_newer


@consumer
def handler(change: Change) -> None:
    """Write the item as it is after the change, or a tombstone, unless a newer change has been written."""
    put_if_newer(change, os.environ["MIRROR_TABLE"])
