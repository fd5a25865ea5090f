"""Times and durations as the operator types them."""

from datetime import UTC, datetime

import pytest

from ops import OpsError
from ops.text.times import ago, ahead, duration_text, parse_duration, parse_time

NOW = datetime(2026, 10, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", datetime(2026, 10, 31, 11, 58, 30, tzinfo=UTC)),
        ("10m", datetime(2026, 10, 31, 11, 50, tzinfo=UTC)),
        (" 2 h ", datetime(2026, 10, 31, 10, 0, tzinfo=UTC)),
        ("3d", datetime(2026, 10, 28, 12, 0, tzinfo=UTC)),
        ("2026-10-31T02:10:00Z", datetime(2026, 10, 31, 2, 10, tzinfo=UTC)),
        ("2026-10-31T02:10:00+02:00", datetime(2026, 10, 31, 0, 10, tzinfo=UTC)),
        ("2026-10-31 02:10", datetime(2026, 10, 31, 2, 10, tzinfo=UTC)),
        ("2026-10-31", datetime(2026, 10, 31, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_duration_before_now_or_iso_8601_in_utc(text: str, expected: datetime):
    assert parse_time(text, NOW) == expected
    assert parse_time(text, NOW).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "10", "m", "-5m", "10x", "2026-13-01", "99999999999d", "9" * 400 + "d"]
)
def test_anything_else_is_refused_with_examples(text: str):
    with pytest.raises(OpsError, match=r"is not a time: write a duration before now, .*10m|too long a duration"):
        parse_time(text, NOW)


def test_a_future_time_is_refused_and_names_the_present():
    with pytest.raises(OpsError, match=r"is in the future: it is 2026-10-31T12:00Z now"):
        parse_time("2026-10-31T12:01", NOW)


@pytest.mark.parametrize("text", ["1", "h", "1.5h", "1h30m", "9" * 400 + "d"])
def test_a_duration_is_a_whole_number_and_a_unit(text: str):
    with pytest.raises(OpsError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (719, "11 min"), (3600, "1 h"), (7800, "2 h 10 min")),
        *((86_400, "1 d"), (273_600, "3 d 4 h")),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str):
    assert duration_text(seconds) == text


def test_the_present_is_now():
    assert (ago(0.2), ahead(-5), ago(61), ahead(3600)) == ("now", "now", "1 min ago", "in 1 h")
