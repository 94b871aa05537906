"""Saving a key store: each value by itself; the counts are made anew."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

from kist.errors import FormatError
from kist.format import keys
from kist.format.keystore import Counts, sizes_of, unpack_key
from kist.format.values import pack_record
from kist.model.keystores.write import AUTO
from kist.model.salvage.rescue import Rescue, Writer

__all__ = ["rescue_keystore"]

_KEY = 9  # where the packed key begins in a key of the map


def rescue_keystore(rescue: Rescue, writer: Writer, node: int, path: str) -> str:
    """Copy what is whole of a key store; returns nothing, for there always is one."""
    codec = AUTO
    with suppress(FormatError):
        codec = Counts.unpack(rescue.view.get(keys.bounds(node))).codec
    n_keys = nbytes = stored = 0
    for key, value in rescue.scan(keys.items(node)):
        try:
            name = unpack_key(key[_KEY:])
        except FormatError as error:
            rescue.lose(path, f"a key is missing: {error}")
            continue
        try:
            wrong = writer.copy(key, value)
            sizes = sizes_of(key, value)
        except FormatError as error:
            wrong = str(error)
        if wrong:
            rescue.lose(path, f"key {name!r} is missing: {wrong}")
            continue
        n_keys, nbytes, stored = n_keys + 1, nbytes + sizes[0], stored + sizes[1]
        if isinstance(name, str) and not name.isascii():
            form = unicodedata.normalize("NFC", name)
            if form != name:
                writer.txn.put(keys.other_form(writer.new, form), pack_record(name.encode()))
    for start, stop in rescue.remains.reader.tree.lost:
        low, high = keys.items(node)
        if start < high and low < stop:
            ends = f"{_name(max(start, low))} and {_name(min(stop, high))}"
            rescue.lose(path, f"keys between {ends} may be missing: their records are lost")
    counts = Counts(n_keys, nbytes, stored, codec)
    writer.txn.put(keys.bounds(writer.new), counts.pack())
    return ""


def _name(key: bytes) -> str:
    try:
        return repr(unpack_key(key[_KEY:].removesuffix(b"\0")))
    except FormatError:
        return "the end" if key[8:9] != b"K" else "the beginning"
