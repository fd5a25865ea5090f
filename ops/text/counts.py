"""Numbers of things, and rates."""


def count(number: int, thing: str, plural: str = "s", *, has_more: bool = False) -> str:
    """Return a number of things: `1 change`, `1,032 changes`; `more than 1,000 changes` if `has_more`."""
    text = f"{number:,} {thing}{'' if number == 1 and not has_more else plural}"
    return f"more than {text}" if has_more else text


def are(number: int, thing: str) -> str:
    """Return a number of things that are: `1 item is`, `2 items are`."""
    return f"{count(number, thing)} {'is' if number == 1 else 'are'}"


def waits(number: int) -> str:
    """Return the verb of so many waiting changes."""
    return "waits" if number == 1 else "wait"


def times(number: int) -> str:
    """Return how often: `once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def rate(per_second: float) -> str:
    """Return a rate: `212/s`, `4.2/s`, `3/min`, `0/s`."""
    if per_second >= 10 or per_second == 0:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 0.95 else f"{max(per_second * 60, 0.1):.2g}/min"
