"""The failure bucket's conditional moves and its listings."""

from datetime import timedelta

import pytest

from ops import OpsError
from ops.failures.bucket import FailureObjects, Moved
from tests.fakes.aws import refusal
from tests.fakes.s3 import MemoryS3


def filled(*keys: str, page: int = 1_000) -> tuple[MemoryS3, FailureObjects]:
    s3 = MemoryS3()
    s3.page = page
    for key in keys:
        s3.put_object(Key=key, Body=key.encode())
    s3.calls.clear()
    return s3, FailureObjects(lambda _: s3, "b", sleep=lambda seconds: None)


def etag(s3: MemoryS3, key: str) -> str:
    return s3.contents[key][1]


@pytest.mark.parametrize(
    ("wanted", "listings"),
    [(["x/10", "x/11"], 1), (["x/10", "x/89"], 2), (["x/10", "x/50", "x/51", "x/89"], 3), (["w", "x/1", "y"], 10)],
)
def test_existing_objects_are_found_with_a_listing_for_each_neighbourhood(wanted: list[str], listings: int) -> None:
    """A page has ten objects. Absent keys have no neighbourhood: the listing goes on behind them."""
    s3, objects = filled(*(f"x/{number}" for number in range(10, 90)), page=10)
    found = objects.existing(sorted(wanted))
    assert found.keys() == {key for key in wanted if key in s3.contents}
    assert s3.calls.count("list_objects_v2") <= listings


def test_an_object_of_the_current_second_is_not_newer_than_now() -> None:
    """The embedded AWS lists milliseconds; the time of a plan comes from a header, which has seconds."""
    s3, objects = filled()
    s3.now += timedelta(milliseconds=400)
    s3.put_object(Key="x", Body=b"")
    [[listed]] = objects.pages("x")
    assert listed.modified <= objects.now()


def test_no_keys_need_no_call() -> None:
    s3, objects = filled("x")
    assert (objects.existing([]), objects.copied_versions([]), s3.calls) == ({}, {}, [])


def test_a_copy_says_of_which_content_it_is() -> None:
    s3, objects = filled("engine/a", "engine/b")
    before = {key: etag(s3, key) for key in ("engine/a", "engine/b")}
    assert [moved for _, moved in objects.copy_all(before.items())] == [Moved.DONE, Moved.DONE]
    s3.put_object(Key="engine/b", Body=b"parked again")
    copied = objects.copied_versions(["engine/a", "engine/b", "engine/c"])
    assert copied == {key: content.strip('"') for key, content in before.items()}
    assert copied["engine/b"] != etag(s3, "engine/b").strip('"')


def test_what_has_changed_or_vanished_is_neither_copied_nor_deleted() -> None:
    s3, objects = filled("engine/a", "engine/b", "engine/c")
    before = {key: etag(s3, key) for key in ("engine/a", "engine/b", "engine/c")}
    s3.put_object(Key="engine/a", Body=b"parked again")
    del s3.contents["engine/b"]
    results = {key: moved for (key, _), moved in objects.copy_all(before.items())}
    assert results == {"engine/a": Moved.CHANGED, "engine/b": Moved.GONE, "engine/c": Moved.DONE}
    assert dict(objects.delete_all(before.items())) == results
    assert s3.objects == {"engine/a": b"parked again", "redriven/engine/c": b"engine/c"}


def test_more_than_a_thousand_objects_are_deleted_in_parts() -> None:
    keys = [f"engine/{number}" for number in range(1_001)]
    s3, objects = filled(*keys)
    assert len(list(objects.delete_all((key, etag(s3, key)) for key in keys))) == 1_001
    assert (s3.objects, s3.calls.count("delete_objects")) == ({}, 2)


def test_a_deletion_that_s3_refuses_for_good_ends_with_a_way_out() -> None:
    s3, objects = filled("engine/a")
    s3.delete_errors = ["SlowDown"] * 4
    with pytest.raises(OpsError, match=r"1 objects whose changes are done \(SlowDown\): run redrive"):
        list(objects.delete_all([("engine/a", etag(s3, "engine/a"))]))


def test_other_errors_are_raised() -> None:
    s3, objects = filled("engine/a")
    for call in ("get_object", "copy_object", "head_object"):
        s3.failing[call] = [refusal("AccessDenied")]
    with pytest.raises(Exception, match="AccessDenied"):
        objects.read("engine/a")
    with pytest.raises(Exception, match="AccessDenied"):
        list(objects.copy_all([("engine/a", etag(s3, "engine/a"))]))
    list(objects.copy_all([("engine/a", etag(s3, "engine/a"))]))
    with pytest.raises(Exception, match="AccessDenied"):
        objects.copied_versions(["engine/a"])
    assert objects.read("engine/none") is None
