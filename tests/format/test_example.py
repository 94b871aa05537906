"""The worked example of docs/format.md is what the code writes, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

from kist.format import keys, layout
from kist.format.log import Record, unpack_record_at
from kist.format.plain import pack_value
from kist.format.superblock import Slot, Super, unpack_slot, unpack_super
from kist.format.tree import pack_tree_page, unpack_tree_page
from kist.format.values import pack_record

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
UUID = bytes(range(16))
TIME_NS = 1_767_600_000_000_000_000  # 2026-01-05 08:00 UTC


def super_() -> bytes:
    return Super(UUID, TIME_NS).pack()


def slot() -> bytes:
    start = layout.RING_OFFSET
    return Slot(2, 0, 0, start, layout.DATA_OFFSET, 2, None, bytes(16)).pack(UUID)


def record() -> bytes:
    key = keys.attribute(keys.ROOT, 0, "gain")
    value = pack_record(pack_value(2.5))
    return Record(
        layout.COMMIT_CHANGES,
        1,
        layout.RING_OFFSET,
        TIME_NS,
        0,
        layout.DATA_OFFSET,
        2,
        bytes(16),
        ops=[(layout.OP_PUT, key, value)],
    ).pack(UUID)


def tree_page() -> bytes:
    entries = {"gain": 2.5, "lab": 7}
    return pack_tree_page(
        0,
        [keys.attribute(keys.ROOT, 0, name) for name in entries],
        [pack_record(pack_value(value)) for value in entries.values()],
    )


def hexdump(data: bytes, at: int) -> str:
    data = data.rstrip(b"\0")
    data = data.ljust(-(-len(data) // 16) * 16, b"\0")
    lines = []
    for i in range(0, len(data), 16):
        row = data[i : i + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at + i:05x}  {row[:8].hex(' ')}  {row[8:].hex(' ')}  {text}")
    return "\n".join(lines)


def test_the_example_of_the_page_is_what_the_code_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```hex\n(.*?)^```", text, re.M | re.S)
    expected = [
        hexdump(super_(), layout.SUPER_OFFSET),
        hexdump(slot(), layout.SLOT_OFFSETS[0]),
        hexdump(record(), layout.RING_OFFSET),
        hexdump(tree_page(), 0),
    ]
    assert [block.strip() for block in blocks] == expected


def test_the_example_reads_back() -> None:
    head = super_() + slot()
    head = head.ljust(layout.HEAD_BYTES, b"\0")
    assert unpack_super(head, "example").uuid == UUID
    assert unpack_slot(slot(), UUID) is not None
    found = unpack_record_at(record(), 0, layout.RING_OFFSET, UUID)
    assert found is not None
    assert found.commit == 1
    assert found.ops[0][1] == bytes.fromhex("0000000000000001") + b"A" + bytes(4) + b"gain"
    assert len(unpack_tree_page(tree_page())[1]) == 2
