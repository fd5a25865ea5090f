"""Keep a second table equal to the first, also if Lambda delivers a change twice or late."""

import os

from handler.stream import Change, consumer, put_if_newer


@consumer
def handler(change: Change) -> None:
    """Write the new image, or a tombstone for a removed item, unless the mirror already has a newer change."""
    put_if_newer(change, os.environ["MIRROR_TABLE"])
