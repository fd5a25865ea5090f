"""Words for numbers and times on the screen."""

from datetime import UTC, datetime

from ops.times import ago

SOON_SECONDS = 12 * 3600


def clock(at: float, now: float) -> str:
    """Return a time of day in UTC, with the date if it is more than 12 hours away: `02:10 UTC`, `25 Nov 02:10 UTC`."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%H:%M} UTC" if abs(at - now) < SOON_SECONDS else f"{moment.day} {moment:%b %H:%M} UTC"


def since(at: float, now: float) -> str:
    """Return a time of the past with its distance: `since 02:10 UTC (3 h 12 min ago)`."""
    return f"since {clock(at, now)} ({ago(now - at)})"


def span(since_at: float, until_at: float, now: float) -> str:
    """Return a time span: `from 25 Nov 02:10 to 25 Nov 05:40 UTC`."""
    return f"from {clock(since_at, now).removesuffix(' UTC')} to {clock(until_at, now)}"


def several(number: int, thing: str, *, has_more: bool = False) -> str:
    """Return a count: `1 item`, `1,204 items`, `more than 1,000 items`."""
    text = f"{number:,} {thing}{'' if number == 1 and not has_more else 's'}"
    return f"more than {text}" if has_more else text


def rate(per_second: float) -> str:
    """Return a rate: `212/s`, `4.2/s`, `3/min`, `0/s`."""
    if per_second >= 10 or per_second == 0:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 0.95 else f"{max(per_second * 60, 0.1):.2g}/min"
