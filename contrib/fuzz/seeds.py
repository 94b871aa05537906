"""Inputs to begin with, made from the golden files and from what the encoders give.

`make_seeds` is run by ``python contrib/fuzz --seeds``; what it gives is added to the corpus.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from decoders import FORMS, LEAVES, VALUES
from feed import packed
from targets import DTYPES

from kist.codecs import pipeline
from kist.codecs.choose import choose
from kist.codecs.recipe import Recipe
from kist.codecs.rows import rows_codec
from kist.codecs.stringpages import choose_strings, encode_strings
from kist.crypto.secret import Secret
from kist.engine import Engine
from kist.engine.fieldkeys import make_lock
from kist.engine.sealed import seal_body
from kist.format import keys, layout
from kist.format.dtypes import pack_dtype
from kist.format.frame import unpack_frame
from kist.format.keystore import pack_key
from kist.format.packed import unpack_head
from kist.format.packed import unpack_record as unpack_packed
from kist.format.plain import pack_value
from kist.format.values import unpack_record
from kist.model.packing import pack
from kist.model.tables.stored import records as tables
from kist.storage import MemoryBackend, MemoryFile

Seeds = dict[str, list[bytes]]

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
MOST = 4096
"""Bytes of the longest input that is kept."""
A_KIND = 12
"""Records of one kind and one file that become seeds."""

# Kinds of record (the letter in the key) -> targets that read their payloads.
RECORDS = {
    b"L": "link",
    b"I": "index",
    b"N": "node",
    b"D": "node",
    b"G": "rows",
    b"P": "rows",
    b"U": "rows",
    b"X": "rows",
}
QUERIES = (
    "(a > 3) & (b <= 2.5) | ~f", "s == b'ab'", "startswith(w, 'x') and u != 'é'",
    "isin(a, [1, 2, 3])", "a in q", "where(f, a, p) * 2 ** 3 // 4 % 5", "1 < a <= 4",
    "t >= date('2026-01-05')", "isnan(b) | (x.y == 255)", "between(a, 1, 5)", "sqrt(abs(b)) / -a",
    "col('x.y') in [1]", "contains(s, b'q')", "isin(a, array('i4', [1]))", "not (a == 1 or f)",
)  # fmt: skip
PATHS = (
    "/",
    "a/b/c",
    "/a",
    "..",
    "../x",
    "a//b",
    "a/",
    "é",
    "e\u0301",
    "\x1b[31m",
    "\u202egpj",
    "a\0",
)


def _of_store(path: Path, seeds: Seeds) -> None:
    data = path.read_bytes()
    seeds["superblock"].append(
        packed(255)[:1] + data[: layout.SUPER.size - 16] + b"\xff" + data[: layout.SUPER.size - 16]
    )
    for at in layout.SLOT_OFFSETS:
        seeds["slot"].append(data[at : at + layout.SLOT.size - 16])
    engine = Engine.open_backend(MemoryBackend(MemoryFile(data), writable=False), "r")
    try:
        seen: dict[tuple[bytes, int], int] = defaultdict(int)
        for key, value in engine.newest().scan(b"", b"\xff" * 9):
            kind, size = keys.kind_of(key), min(len(value), 1 << 9)
            seen[kind, size // 16] += 1
            if seen[kind, size // 16] <= A_KIND // 4:
                _of_record(key, value, engine, seeds)
        root = engine.state.root
        if root is not None:
            seeds["tree"].append(engine.reader.read(root))
            seeds["leaf"].append(packed(b"\0" * 8 + b"V") + engine.reader.read(root))
    finally:
        engine.close()
    at = layout.RING_OFFSET
    while (at := data.find(layout.COMMIT_MAGIC, at, layout.DATA_OFFSET)) >= 0:
        fields = layout.RECORD.unpack(data, at)
        body = data[at + layout.RECORD.size : at + layout.RECORD.size + fields["length"]]
        seeds["log"].append(data[at : at + layout.RECORD.size - 16] + body)
        at += layout.RECORD.size


def _of_record(key: bytes, value: bytes, engine: Engine, seeds: Seeds) -> None:
    pointers, payload = unpack_record(value)
    kind = keys.kind_of(key)
    seeds["key"].append(key)
    seeds["record"].append(value)
    if kind in RECORDS:
        whole = kind in b"ND"
        seeds[RECORDS[kind]].append(value if whole else payload)
    elif kind in b"AM" and not pointers:
        seeds["plain"].append(payload)
    elif kind == b"K":
        seeds["keystore"] += [key[9:], value]
        if payload[:1] == b"\0":
            seeds["plain"].append(payload[1:])
    elif kind == b"B":
        seeds["keystore"].append(value)
    elif kind == b"S":
        seeds["schema"].append(payload)
        seeds["array"].append(b"\1" + payload)
    elif kind == b"C":
        seeds["array"] += [b"\2" + payload, b"\1" + payload]
    for pointer in pointers:
        start = pointer.offset
        data = bytes(engine.backend.read(start, layout.FRAME.size + pointer.length))
        header, body = unpack_frame(data), data[layout.FRAME.size :]
        seeds["frame"].append(data[: layout.FRAME.size - 8])
        if header is None:
            continue
        if header.type == layout.FRAME_PAGE:
            rest = (pointer.length - pointer.head).to_bytes(3, "little")
            seeds["page"].append(rest + body[: pointer.head])
        elif header.type == layout.FRAME_BUNDLE:
            seeds["bundle"].append(packed(body[: pointer.head]) + body[pointer.head :])


def _layout(n_values: int, block_values: int) -> bytes:
    return n_values.to_bytes(2, "little") + block_values.to_bytes(2, "little") + b"\0\0"


def _of_encoders(seeds: Seeds) -> None:
    steps = [
        ((16,),), ((1,),), ((2,),), ((17, 1, 1, 0, 1),), ((17, 5, 1, 0, 2),), ((18, 8),),
        ((3,), (17, 5, 1, 0, 0)), ((4,), (16,)), ((5, 1), (6,), (4,), (17, 1, 5, 0, 2)),
        ((5, 2), (6,), (16,)), ((7, 2, 8), (5, 1), (17, 5, 1, 0, 1)), ((7, 2, 4), (4,), (18, 8)),
        ((5, 1), (18, 4)),
    ]  # fmt: skip
    more = [np.zeros(300, "u1"), np.sort(np.arange(300, dtype="<f4") % 7), np.arange(300) % 2 == 1]
    more += [np.arange(300, dtype=">i4"), np.arange(300).astype("<M8[s]"), np.array(["é"] * 300)]
    for at, values in enumerate((*VALUES, *more)):
        known = [n for n, form in enumerate(FORMS) if form == values.dtype]
        for chain in steps:
            found = Recipe("fast", chain)
            seeds["recipe"].append(packed(at % 4) + found.pack())
            page = pipeline.encode(values, found, block_values=128)
            if known:
                packed_stages = packed(len(page.stages))
                for stage in page.stages:
                    packed_stages += packed(stage.id, stage.params)
                blocks = packed(*map(bytes, page.blocks))
                whole = packed(known[0]) + _layout(300, 128) + packed_stages + blocks
                seeds["decode"].append(whole)
                seeds["scattered"].append(whole)
            for stage, block in zip(page.stages[-1:], page.blocks, strict=False):
                if stage.id == 18:
                    forms = [f for f in FORMS if f.kind in "iuf" and f.itemsize in (2, 4, 8)]
                    place = forms.index(values.dtype) if values.dtype in forms else 0
                    seeds["pcodec"].append(packed(place) + b"\x7f\0" + bytes(block))
                if stage.id == 17 and len(block) > 32:
                    head = packed(int(stage.params[0] == 5), stage.params[2] - 1, stage.params[1])
                    n = len(values[:128]) * values.itemsize // stage.params[2] - 1
                    rest = packed(block[2] >> 4 & 1 | 4) + bytes(3) + b"\xff\0"
                    seeds["blosc"].append(head + n.to_bytes(2, "little") + rest + bytes(block)[32:])
        seeds["recipe"].append(packed(at % 4) + choose(values).pack())
    texts = np.array([f"word {n % 7} é" for n in range(300)], np.dtypes.StringDType())
    longer = np.array(["x" * (n % 23) for n in range(300)], np.dtypes.StringDType())
    for words in (texts, longer):
        for preset in ("fast", "none", "small"):
            found = choose_strings(words, preset)
            seeds["recipe"].append(packed(3) + found.pack())
            page = encode_strings(words, found, block_values=128)
            body = packed(0, 0) + _layout(300, 128) + packed(len(page.stages))
            for stage in page.stages:
                body += packed(stage.id, stage.params)
            seeds["strings"].append(body + packed(*map(bytes, page.blocks)))
            if len(page.stages) == 1:
                seeds["strings"].append(packed(1, 1) + b"\x80\0" + bytes(page.blocks[0]))
    for at, (dtypes, counts) in enumerate(LEAVES):
        codec = rows_codec(dtypes, counts)
        for n in (1, 5, 40):
            records = np.zeros(n, codec.dtype)
            for name in records.dtype.names or ():
                numbers = np.arange(records[name].size).reshape(records[name].shape)
                records[name] = (numbers % 50).astype(records[name].dtype)
            seeds["piece"].append(packed(at) + codec.encode(records))


def _of_sealed(seeds: Seeds) -> None:
    """Locks of each kind of secret, bodies, and the seal of a slot."""
    secrets = {"raw": Secret(bytes(32)), "words": Secret("a passphrase of some words")}
    for labels in (["raw"], ["words"], ["raw", "words"]):
        lock, keys_of = make_lock({label: secrets[label] for label in labels})
        lock = lock._replace(
            slots=tuple(slot._replace(log_n=min(slot.log_n, 4)) for slot in lock.slots)
        )
        seeds["lock"].append(lock.pack())
        parts = packed(*(slot.pack()[:-8] for slot in lock.slots))
        counts = (packed(len(lock.slots)), packed(len(lock.names)))
        rest = lock.salt + b"".join(lock.names) + lock.ring
        seeds["lock"].append(counts[0] + parts + counts[1] + rest)
        seeds["seal"].append(bytes(32) + packed(lock.pack()) + bytes(8))
        head, units = seal_body(keys_of.current, [bytes(5000)], 12)
        seeds["body"].append(bytes(head) + bytes(units)[: MOST - len(head)])
    seeds["body"] += [b"\0\0\0" + bytes(40), b"\7\0\1" + bytes(9), b"\0\0\0"]


def _as_packed(data: bytes) -> bytes:
    """Packed data as the target takes them apart."""
    kind = unpack_head(data[: layout.PACKED_HEAD.size])
    out, at, start = [], layout.PACKED_HEAD.size, 0
    forms = ("|u1", "<i4", ">f8", "", "|V7", "|O")
    while at < len(data):
        record = unpack_packed(data[at : at + layout.PACKED_RECORD.size], at, start)
        at += layout.PACKED_RECORD.size
        start += record.nbytes
        body = data[at : at + record.length]
        at += record.length
        out.append(packed((b"PAGE", b"VALU", b"DONE").index(record.type), body[: record.head]))
        out.append(packed(forms.index(record.dtype)))
        if record.type != b"DONE":
            out.append(packed(body[record.head :]))
        out.append(record.n_values.to_bytes(3, "little"))
    return packed(kind - 1, len(out) // 3) + b"".join(out)


def make_seeds() -> Seeds:
    """Inputs by target, the long ones left out."""
    seeds: Seeds = defaultdict(list)
    for path in sorted(GOLDEN.glob("*.kist")):
        _of_store(path, seeds)
    _of_encoders(seeds)
    dtypes = [*FORMS, *DTYPES, np.dtype([("a", "<i4"), ("b", "S3", (2,))], align=True)]
    for at, dtype in enumerate(dtypes):
        seeds["dtype"].append(pack_dtype(dtype))
        if at < len(DTYPES):
            seeds["statistics"].append(packed(at) + bytes(41))
    for value in (1, -1, "é", b"x", 2.5, [1, (2, {3})], {"a": np.arange(3)}, 10**40, np.float32(1)):
        seeds["plain"].append(pack_value(value))
    _of_sealed(seeds)
    for packed_data in (pack(b"bytes" * 30), pack([np.arange(9), "x"])):
        seeds["packed"].append(packed_data)
        seeds["packed"].append(_as_packed(packed_data))
    few, many = np.array([1, 4, 7]), np.array([2, 3, 900])
    parts = [tables.PatchPart((0, 2), few, b"abc"), tables.PatchPart((5,), many, b"")]
    seeds["rows"] += [tables.pack_patch(parts), tables.pack_ordinals(few), tables.pack_patch([])]
    seeds["rows"] += [tables.pack_dead(np.arange(9) % 4 == 1), tables.pack_ordinals(many)]
    seeds["keystore"] += [pack_key(key) for key in (0, -1, 2**70, "a", b"b")]
    seeds["query"] += [text.encode() for text in QUERIES]
    seeds["path"] += [text.encode() for text in PATHS]
    return {
        name: sorted({one for one in found if len(one) <= MOST}) for name, found in seeds.items()
    }
