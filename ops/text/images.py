"""Shows what a change changed: its images attribute by attribute, each on one short line."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from handler.stream.change import Change, ImageNotInStreamError, MalformedChangeError
from ops.text.counts import count
from ops.text.lines import cut, printable

ABSENT = "—"
"""In place of the value of an attribute that an image does not have."""
CONTEXT = 12
"""Characters before the first difference of two long values that stay visible."""

Image = Mapping[str, Any]


def image_lines(change: Change, earlier: Change | None, width: int) -> Iterator[str]:
    """Return a line about each attribute that a change set, changed or removed, of at most `width` characters.

    A stream may have only new images. They are compared with the new image of `earlier`, the waiting change before.
    """
    try:
        new, old = _image(change, "new_image"), _image(change, "old_image")
        if old is None and change.event_name == "MODIFY" and earlier is not None:
            old = _image(earlier, "new_image")
        keys = change.keys
    except MalformedChangeError as error:
        yield cut(f"cannot be decoded: {error}", width)
        return
    if new is None and old is None:
        yield "the stream's records have no images"
    elif new is None or old is None:
        image = cast("Image", new or old or {})
        for name in sorted(image.keys() - keys.keys()):
            yield cut(f"{printable(name)}: {value_text(image[name])}", width)
    else:
        yield from _difference(old, new, keys, width)


def _difference(old: Image, new: Image, keys: Image, width: int) -> Iterator[str]:
    names = sorted((old.keys() | new.keys()) - keys.keys())
    changed = [name for name in names if name not in old or name not in new or old[name] != new[name]]
    for name in changed:
        before, after = (value_text(image[name]) if name in image else ABSENT for image in (old, new))
        label = f"{printable(name)[: width // 3]}: "
        yield cut(label + _side_by_side(before, after, width - len(label)), width)
    same = len(names) - len(changed)
    if same:
        yield f"{count(same, 'other attribute')} unchanged"


def _side_by_side(before: str, after: str, width: int) -> str:
    """Return `before → after`; of long values the parts around the first difference."""
    each = (width - 3) // 2
    if len(before) + len(after) + 3 > width:
        pairs = enumerate(zip(before, after, strict=False))
        same = next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))
        skipped = max(0, same - CONTEXT)
        if skipped:
            before, after = f"…{before[skipped:]}", f"…{after[skipped:]}"
        each = max(each, width - 3 - min(len(before), len(after)))
    return f"{cut(before, each)} → {cut(after, each)}"


def _image(change: Change, name: str) -> Image | None:
    try:
        return getattr(change, name)
    except ImageNotInStreamError:
        return None


def value_text(value: Any) -> str:
    """Return a value of an item on one line, as JSON where JSON can say it."""
    match value:
        case str():
            return printable(json.dumps(value, ensure_ascii=False))
        case bool() | None:
            return json.dumps(value)
        case Decimal():
            return str(value)
        case bytes():
            return f"<{len(value)} bytes>"
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return "{" + ", ".join(f"{printable(name)}: {value_text(part)}" for name, part in pairs) + "}"
        case list():
            return "[" + ", ".join(map(value_text, cast("list[Any]", value))) + "]"
        case _:
            return "{" + ", ".join(sorted(map(value_text, value))) + "}"
