"""Errors of one cause have equal texts, whatever differs from item to item."""

import pytest

from ops.text.causes import cause_of, one_line


@pytest.mark.parametrize(
    ("texts", "cause"),
    [
        (["timed out after 3012 ms", "timed out after 2.5 ms"], "timed out after # ms"),
        (["no customer c7", "no customer c8812"], "no customer c#"),
        (['cannot reach "https://a.example/1"', 'cannot reach "x"'], 'cannot reach "…"'),
        (["can't find 'a b' in 'c'", "can't find 'd' in ''"], "can't find '…' in '…'"),
        (["at 2026-10-31T02:10:00.123Z", "at 2026-11-01 03:00", "at 17:20:01"], "at #"),
        (["id 7c9e6679-7425-40de-944b-e07fc1f90ae7", "id deadbeef1", "id 0x7ffe12ab", "id 12"], "id #"),
        (["key 01ARZ3NDEKTSV4RRFFQ69G5FAV gone", "key 01BX5ZZKBKACTAV9WEVGEMMVRZ gone"], "key # gone"),
        (["two\n  lines", "two lines"], "two lines"),
    ],
)
def test_what_differs_from_item_to_item_is_replaced(texts: list[str], cause: str):
    assert {cause_of("Error", text) for text in texts} == {f"Error: {cause}"}


def test_words_type_and_a_different_text_tell_causes_apart():
    texts = ["facade refused", "decade refused", "defaced"]
    assert len({cause_of(kind, text) for kind in ("A", "B") for text in texts}) == 6


def test_an_error_without_a_text_is_its_type():
    assert (cause_of("KeyError", ""), one_line("KeyError", " \n")) == ("KeyError", "KeyError")


def test_only_the_beginning_of_a_long_text_counts():
    assert cause_of("Error", "x " * 400 + "1") == cause_of("Error", "x " * 400 + "y")


def test_an_error_of_aws_is_shortened_to_its_call():
    text = (
        "An error occurred (ThrottlingException) when calling the PutItem operation (reached max retries: 2): Slow 12"
    )
    assert one_line("ThrottlingException", text) == "ThrottlingException: PutItem: Slow 12"
    assert cause_of("ThrottlingException", text) == "ThrottlingException: PutItem: Slow #"
