"""Changes of a file that somebody would make to do harm: structure kept, sums made right.

`mutate` changes one thing of an `Image`: a field of a super, slot or log record, a page of the
tree, a record of the map, a pointer, the head of a page or bundle, a recipe, compressed bytes, a
plain value. What it was is said in words.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from typing import Any, NamedTuple

from kist.format import keys, layout
from kist.format.checksum import sum128
from kist.format.link import LINK
from kist.format.log import Freed, Verify
from kist.format.tree import pack_tree_page
from kist.format.values import Pointer, pack_record, unpack_record
from kist.testing.bodies import (
    EXTREMES,
    changed,
    changed_bundle,
    changed_lock,
    changed_page,
    changed_value,
    number_like,
)
from kist.testing.surgery import MOST_OPS, Image, TreePage

__all__ = ["KINDS", "Mutation", "changed_payload", "mutate"]


class Mutation(NamedTuple):
    """What was changed.

    Attributes
    ----------
    kind : str
        One of the names of `KINDS`.
    what : str
        In more words.
    node : int
        The node concerned, 0 for any.
    """

    kind: str
    what: str
    node: int = 0


# Head of the file and log


def _field(rng: random.Random, record: Any) -> tuple[str, Any]:
    """Another value for one of the numbers of a dataclass or named tuple."""
    names = getattr(record, "_fields", None) or [f.name for f in fields_of(record)]
    numbers = [name for name in names if type(getattr(record, name)) is int]
    name = rng.choice([n for n in numbers if n not in ("position", "size")] or numbers)
    bits = 63 if name in ("time_ns", "created_ns") else 16 if name in ("kind", "flags") else 64
    return name, number_like(rng, getattr(record, name), bits)


def _super(rng: random.Random, image: Image) -> str:
    name, value = _field(rng, image.super)
    block = image.super._replace(**{name: value}).pack()
    places = rng.choice(((0,), (3 * layout.BLOCK,), (0, 3 * layout.BLOCK)))
    for at in places:
        image.data[at : at + len(block)] = block
    return f"super: {name} = {value:#x} at {places}"


def _slot(rng: random.Random, image: Image) -> str:
    image.pack_log()
    number = rng.choice([at for at, slot in enumerate(image.slots) if slot is not None])
    slot = image.slots[number]
    assert slot is not None
    choice = rng.random()
    if choice < 0.6:
        name, value = _field(rng, slot)
        new = slot._replace(**{name: value})
    elif choice < 0.7:
        name, new = "position", slot._replace(position=number_like(rng, slot.position, 64))
    elif choice < 0.8:
        name, new = "spare", slot._replace(spare=(rng.choice(EXTREMES[:-2]), rng.choice(EXTREMES)))
    else:
        name, new = "root", slot._replace(root=_bad_pointer(rng, image, slot.root))
    at = layout.SLOT_OFFSETS[number]
    try:
        block = new.pack(image.uuid)
    except struct.error:
        block = changed(rng, slot.pack(image.uuid))[: layout.BLOCK]
    image.data[at : at + len(block)] = block
    return f"slot {number}: {name}"


def _bad_pointer(rng: random.Random, image: Image, old: Pointer | None) -> Pointer:
    pointer = old or Pointer(layout.DATA_OFFSET, 100, 100, 1, bytes(16))
    name = rng.choice(("offset", "length", "head", "birth"))
    bits = {"length": 48, "head": 32}.get(name, 64)
    # The bits of the fields, as the table in the layout has them.
    try:
        more: dict[str, Any] = {name: number_like(rng, getattr(pointer, name), bits)}
        new = pointer._replace(**more)
        new.pack()
    except struct.error:
        new = pointer._replace(offset=64)
    if rng.random() < 0.5 and new.head <= 1 << 24 and new.offset < len(image.data):
        return new._replace(sum=sum128(image.body(new)[: new.head]))
    return new


def _log(rng: random.Random, image: Image) -> str:
    if not image.records:
        image.add([])
    record = rng.choice(image.records)
    choice = rng.randrange(6)
    far = (rng.choice(EXTREMES), rng.choice(EXTREMES))
    if choice == 0:
        name, value = _field(rng, record)
        setattr(record, name, value)
        image.end = max(image.end, record.end)  # the same for all
    elif choice == 1:
        name, record.verify = "verify", [Verify(*far, bytes(16))] * rng.choice((1, 300))
    elif choice == 2:
        name, record.used = "used", [far] * rng.choice((1, 2, 300))
    elif choice == 3:
        freed = Freed(*far, rng.choice(EXTREMES), rng.choice(EXTREMES))
        name, record.freed = "freed", [freed] * rng.choice((1, 2))
    elif choice == 4:
        name = "operations"
        key = changed(rng, rng.choice(list(image.entries())))[: layout.MAX_KEY]
        op = rng.choice((layout.OP_PUT, layout.OP_DELETE, layout.OP_DELETE_RANGE))
        record.ops = [*record.ops, (op, key, changed(rng, key)[:1000])]
    else:
        name = "bytes"
        image.pack_log()
        return _log_bytes(rng, image)
    ends = image.records[-1].commit
    image.pack_log()
    return f"log record of {len(image.records)}, commit {ends}: {name}"


def _log_bytes(rng: random.Random, image: Image) -> str:
    """The last record, changed anywhere; only its length and sum are right."""
    record = image.records[-1]
    at, size = record.position, layout.RECORD.size
    data = bytearray(image.data[at : at + record.size])
    header, payload = bytes(data[: size - 16]), bytes(data[size:])
    if rng.random() < 0.3:
        header = changed(rng, header)[: size - 16].ljust(size - 16, b"\0")
    payload = changed(rng, payload)[:MOST_OPS]
    out = bytearray(header)
    struct.pack_into("<I", out, layout.RECORD.offset("length"), len(payload))
    image.data[at : at + size + len(payload)] = out + sum128(bytes(out) + payload) + payload
    return "log record: bytes"


# The tree


def _tree(rng: random.Random, image: Image) -> str:
    pages = image.pages()
    if not pages:  # all of it stands in the log
        return _log(rng, image)
    page = rng.choice(pages)
    if rng.random() < 0.5:
        image.replace_page(page, changed(rng, page.body))
        image.pack_log()
        return f"page of the tree, level {page.level}: bytes"
    names, values, level = list(page.keys), list(page.values), page.level
    at = rng.randrange(len(names))
    choice = rng.randrange(8)
    if choice == 0:
        names[at] = changed(rng, names[at])
    elif choice == 1:
        values[at] = changed(rng, values[at])
    elif choice == 2:
        names[at], names[-1] = names[-1], names[at]
    elif choice == 3:
        values[at] = rng.choice(values)
    elif choice == 4:
        values[at], values[-1] = values[-1], values[at]
    elif choice == 5:
        level = rng.choice((0, 1, 2, 15, 16))
    elif choice == 6 and image.root is not None:
        values[at] = image.root.pack()  # a loop, where it is a pointer to a page
    else:
        del names[at], values[at]
    image.replace_page(page, _packed_page(level, names, values, page))
    image.pack_log()
    return f"page of the tree, level {page.level}: entry {at}, way {choice}"


def _packed_page(
    level: int, names: Sequence[bytes], values: Sequence[bytes], page: TreePage
) -> bytes:
    if names and all(name.startswith(names[0][:1]) for name in names):
        return pack_tree_page(level, names, values)
    return page.body[:40]


# Records of the map

_HOW = {b"M": ("note", 0.8), b"A": ("attribute", 0.5), b"L": ("link", 0.8), b"E": ("lock", 0.5)}
"""Kind of record -> what it is, and how often it is changed as that and not as bytes."""


def changed_payload(rng: random.Random, key: bytes, payload: bytes) -> bytes:
    """Return the payload of a record with something else in it, in the way of its kind."""
    kind = keys.kind_of(key)
    if kind in b"MA":
        return changed_value(rng, payload)
    if kind == b"L" and rng.random() < 0.9:
        return payload[: LINK.size] + changed_value(rng, payload[LINK.size :])
    if kind == b"E" and key.endswith(b"L") and rng.random() < 0.9:
        return changed_lock(rng, payload)
    return changed(rng, payload)


def _record(rng: random.Random, image: Image) -> tuple[str, int]:
    entries = image.entries()
    kinds = sorted({keys.kind_of(key) for key in entries})
    kind = rng.choice(kinds)
    key = rng.choice([key for key in entries if keys.kind_of(key) == kind])
    value = entries[key]
    pointers, payload = unpack_record(value)
    put, choice = layout.OP_PUT, rng.random()
    what, new_key, new = "payload", key, value
    if kind in _HOW and not pointers and choice < _HOW[kind][1]:
        what = _HOW[kind][0]
        new = pack_record(changed_payload(rng, key, payload))
    elif pointers and choice < 0.6:
        at = rng.randrange(len(pointers))
        changed_one, what = _extent(rng, image, pointers[at])
        new = pack_record(payload, [*pointers[:at], changed_one, *pointers[at + 1 :]])
    elif choice < 0.64:
        image.add([(layout.OP_DELETE, key, b"")])
        image.pack_log()
        return f"{kind!r}: deleted", keys.node_of(key)
    elif choice < 0.74:
        what = "key"
        cut = rng.choice((0, 8, 9))
        new_key = (key[:cut] + changed(rng, key[cut:]))[: layout.MAX_KEY]
        image.add([(layout.OP_DELETE, key, b"")])
    elif choice < 0.8:
        what = "payload of another"
        new = pack_record(unpack_record(rng.choice(list(entries.values())))[1], pointers)
    elif choice < 0.88:
        what = "pointers"
        new = _pointers(rng, image, entries, pointers, payload)
    else:
        new = pack_record(changed(rng, payload), pointers)
    image.add([(put, new_key, new[:MOST_OPS])])
    image.pack_log()
    return f"{kind!r}: {what}", keys.node_of(key)


def _pointers(
    rng: random.Random,
    image: Image,
    entries: dict[bytes, bytes],
    pointers: tuple[Pointer, ...],
    payload: bytes,
) -> bytes:
    """Pointers exchanged with those of other records, or with wrong lengths."""
    others = [p for value in entries.values() for p in unpack_record(value)[0]]
    if not pointers or not others:
        return pack_record(payload, [rng.choice(others)] if others else ())
    found = list(pointers)
    at, other = rng.randrange(len(found)), rng.choice(others)
    choice = rng.randrange(5)
    if choice == 0:
        found[at] = other
    elif choice == 1:
        found[at] = found[at]._replace(length=other.length)
    elif choice == 2:
        head = min(other.head, len(image.body(found[at])))
        found[at] = found[at]._replace(head=head, sum=sum128(image.body(found[at])[:head]))
    elif choice == 3:
        found[at] = _bad_pointer(rng, image, found[at])
    else:
        found = found * rng.choice((2, 3)) if len(found) < 80 else found[:1]
    return pack_record(payload, found)


# Extents


def _extent(rng: random.Random, image: Image, old: Pointer) -> tuple[Pointer, str]:
    header, body = image.header(old), image.body(old)
    assert header is not None
    head: int | None = None
    if header.type == layout.FRAME_BUNDLE:
        what = "bundle"
        body, head = changed_bundle(rng, body, old.head)
    elif header.type == layout.FRAME_PAGE:
        what = "page"
        body, head = changed_page(rng, body, old.head)
    else:
        what = header.type.decode()
        body = changed(rng, body)
    return image.append(header.type, body, head, header), what


KINDS: dict[str, tuple[float, Callable[[random.Random, Image], Any]]] = {
    "super": (0.03, _super),
    "slot": (0.05, _slot),
    "log": (0.08, _log),
    "tree": (0.12, _tree),
    "record": (0.72, _record),
}


def mutate(rng: random.Random, data: bytes) -> tuple[bytes, Mutation]:
    """Return a file with one change, every sum right, and what the change is."""
    image = Image(data)
    names = list(KINDS)
    name = rng.choices(names, [KINDS[kind][0] for kind in names])[0]
    found = KINDS[name][1](rng, image)
    what, node = found if isinstance(found, tuple) else (found, 0)
    return bytes(image.data), Mutation(name, what, node)
