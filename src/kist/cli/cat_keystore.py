"""Keys of a key store as text, and one value: what `cat` and `head` print of one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kist.cli.cells import Style, csv_row, value_json, value_text
from kist.cli.lines import json_list
from kist.errors import KeyNotFoundError
from kist.model.text import visible

__all__ = ["key_lines", "value_lines"]


def key_lines(store: Any, style: Style, most: int | None = None) -> Iterator[str]:
    """Yield the keys in order, text as it is, others as Python writes them."""
    keys = islice(store, most)
    if style == "json":
        yield from json_list(value_json(key) for key in keys)
        return
    for key in keys:
        text = key if isinstance(key, str) else repr(key)
        yield csv_row([text]) if style == "csv" else visible(text) + "\n"


def value_lines(store: Any, key: str, style: Style) -> Iterator[str]:
    """Yield the value of a key.

    Parameters
    ----------
    key : str
        The key itself; if there is none, the int or the bytes that it writes.

    Raises
    ------
    KeyNotFoundError
        There is none of these.
    """
    value = store[_meant(store, key)]
    yield (value_json(value) if style == "json" else value_text(value)) + "\n"


def _meant(store: Any, text: str) -> Any:
    if text in store:
        return text
    digits = text.removeprefix("-")
    # int() of more digits takes time, and no key has so many.
    if digits.isdecimal() and len(digits) < 50 and int(text) in store:
        return int(text)
    for spelled in (text, text[2:-1] if text[:2] in ("b'", 'b"') else text):
        if spelled.encode(errors="surrogateescape") in store:
            return spelled.encode(errors="surrogateescape")
    raise KeyNotFoundError(
        f"{store.name!r} has no key {text!r}; 'kist cat' without --key lists keys"
    )
