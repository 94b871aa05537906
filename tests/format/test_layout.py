"""docs/format.md and kist.format.layout say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kist.format import array, keystore, layout, link, node, sealed, sealedstore
from kist.format.layout import FieldTable

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
TABLES = [
    layout.SUPER,
    layout.SLOT,
    layout.RECORD,
    layout.FRAME,
    layout.POINTER,
    layout.TREE_PAGE,
    layout.CLOSING,
    layout.PAGE_HEAD,
    layout.BUNDLE_HEAD,
    keystore.COUNTS,
    array.ARRAY,
    array.SEGMENT,
    node.NODE,
    node.CHILD,
    link.LINK,
    sealed.SEALED_HEAD,
    sealed.SLOT_HEAD,
    sealedstore.SLOT_SEAL,
]


def expected(table: FieldTable) -> str:
    rows = [f"| {at} | {n} | `{name}` | {what} |" for at, n, name, what in table.rows()]
    return "\n".join(["| offset | bytes | field | meaning |", "|---:|---:|---|---|", *rows])


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_the_page_holds_the_field_table_as_it_is_in_the_code(table: FieldTable) -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^### {re.escape(table.name)}\n\n(.*?)(?:\n\n|\Z)", text, re.M | re.S)
    assert section is not None, f"docs/format.md lacks '### {table.name}'"
    assert section.group(1).strip() == expected(table)


def test_the_page_names_the_version_and_the_places_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"format, version {layout.FORMAT_VERSION}" in text
    for offset, what in [
        (layout.SUPER_OFFSET, "super"),
        (layout.SLOT_OFFSETS[0], "slot 0"),
        (layout.SLOT_OFFSETS[1], "slot 1"),
        (layout.SUPER_COPY_OFFSET, "copy of the super; at 0x3800 the closing note"),
    ]:
        assert f"| 0x{offset:04x} | 4096 | {what} |" in text
    assert f"| 0x{layout.RING_OFFSET:04x} | 2 x `ring_half` |" in text
    assert f"({layout.RING_HALF:,} as\nwritten today)" in text
    magic = " ".join(f"{byte:02X}" for byte in layout.SUPER_MAGIC)
    assert magic in text


def test_limits_of_the_page_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for what, limit in [
        ("key of the map", f"{layout.MAX_KEY:,} bytes"),
        ("payload of a record", f"{layout.MAX_INLINE:,} bytes"),
        ("pointers of a record", str(layout.MAX_POINTERS)),
        ("small commit", f"{layout.MAX_RECORD // 1024} KiB"),
        ("levels of the tree", str(layout.MAX_TREE_DEPTH)),
        ("value of the map", f"{layout.MAX_VALUE:,} bytes, pointers included"),
        ("page of the tree", f"{layout.MAX_TREE_PAGE >> 20} MiB"),
        ("runs to verify in one record", f"{layout.UNSYNCED_RELAXED >> 20} MiB in total"),
        ("offset or end in the file", f"2^{layout.MAX_OFFSET.bit_length() - 1}"),
        ("commit id", f"2^{layout.MAX_COMMIT.bit_length()} - 1"),
        ("node id", f"2^{layout.MAX_NODE.bit_length() - 1}"),
    ]:
        assert f"| {what} | {limit} |" in text
