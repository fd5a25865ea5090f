"""Times and durations as the operator types them and as the commands show them."""

import re
from datetime import UTC, datetime, timedelta

from ops import OpsError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""The seconds of each unit of a duration."""
DURATION = re.compile(r"(\d+)\s*([smhd])")


def parse_duration(text: str) -> timedelta:
    """Return the duration of a text such as `90s`, `10m`, `2h` or `3d`. Raises OpsError."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise OpsError(f"{text!r} is not a duration: write a whole number and s, m, h or d, as in 10m, 2h or 3d")
    try:
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])
    except (ValueError, OverflowError) as error:
        raise OpsError(f"{text[:20]!r} is too long a duration") from error


def parse_time(text: str, now: datetime) -> datetime:
    """Return a time of the past in UTC.

    Parameters
    ----------
    text
        A duration before `now` (`10m`, `2h`, `3d`), or an ISO 8601 time. A time without an offset is UTC, as are the
        times in the logs.
    now
        The present time, with its time zone.

    Raises
    ------
    OpsError
        The text is neither, or the time is in the future.
    """
    try:
        if DURATION.fullmatch(text.strip()):
            return (now - parse_duration(text)).astimezone(UTC)
        time = datetime.fromisoformat(text.strip())
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise OpsError(
            f"{text!r} is not a time: write a duration before now, as in 10m, 2h or 3d, or an ISO 8601 time, as in "
            "2026-10-31T02:10:00Z"
        ) from error
    if time > now:
        raise OpsError(f"{text} is in the future: it is {iso_minute(now)} now (a time without an offset is UTC)")
    return time


def duration_text(seconds: float) -> str:
    """Return a duration with its two largest units: `45 s`, `12 min`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        parts = (days, "d"), (hours, "h")
    elif hours:
        parts = (hours, "h"), (minutes, "min")
    else:
        parts = (minutes, "min"), (0, "s")
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def ago(seconds: float) -> str:
    """Return how long ago something was: `2 h 10 min ago`; `now` for less than a second."""
    return f"{duration_text(seconds)} ago" if seconds >= 0.5 else "now"


def ahead(seconds: float) -> str:
    """Return in how long something is due: `in 2 h 10 min`; `now` if it is due."""
    return f"in {duration_text(seconds)}" if seconds >= 0.5 else "now"


def iso_minute(time: datetime) -> str:
    """Return a time as ISO 8601 text in UTC, to the minute."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def minute_at(seconds: float) -> str:
    """Return a time in seconds since 1970 as `iso_minute` does."""
    return iso_minute(datetime.fromtimestamp(seconds, UTC))
