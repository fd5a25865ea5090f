"""Sums and selections of metrics."""

from ops.status.facts import Series


def between(series: Series, since: float, until: float) -> Series:
    """Return the periods that begin within the time."""
    return tuple((at, value) for at, value in series if since <= at < until)


def total(series: Series, since: float, until: float) -> float:
    """Return the sum of the periods that begin within the time."""
    return sum(value for _, value in between(series, since, until))


def last_positive(series: Series) -> float | None:
    """Return the start of the last period with a value above 0."""
    return next((at for at, value in reversed(series) if value > 0), None)
