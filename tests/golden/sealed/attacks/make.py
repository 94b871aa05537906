"""Write the vectors of this folder anew: `python tests/golden/sealed/attacks/make.py`.

Each is an edit by somebody without a secret: an engine that has no keys writes records and extents,
and makes every checksum anew. The edits are those of tests/model/test_sealed_attacks.py.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kist
from kist.engine import Engine
from kist.format import keys
from kist.format.layout import FRAME
from kist.format.values import pack_record, unpack_record

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[3]
sys.path.insert(0, str(ROOT / "tests" / "model"))

import test_sealed_attacks as edits  # noqa: E402

_GRAIN = 48
"""Bytes that are looked for in the file as it was."""


def page(path: Path, name: str) -> Any:
    """Return payload and bodies of the first page of a column of the table `t`."""
    with kist.open(path) as store:
        node = store["t"]._id
    engine = Engine.open(path)
    try:
        view = engine.newest()
        pointers, payload = unpack_record(edits.pages(view, node, name)[0][1])
        bodies = [(p.head, engine.reader.read_part(p, 0, p.length)) for p in pointers]
        return payload, bodies, pointers
    finally:
        engine.close()


def put_page(payload: bytes, bodies: Any) -> Callable[[Any, int], None]:
    """Return an edit that puts a page in the place of the first one of `c`."""

    def put(txn: Any, node: int) -> None:
        written = txn.write([edits.frame(head, body) for head, body in bodies])
        txn.put(edits.pages(txn, node, "c")[0][0], pack_record(payload, written))

    return put


def strip(txn: Any, node: int) -> None:
    """Take flag, lock and manifest of the field of `c` away."""
    edits.edit_schema(edits.unsealed)(txn, node)
    txn.delete_range(*keys.sealed_field(node, 2))


ABOUT = {
    "swap_row_groups": "two pages of one column exchanged: moved to another place",
    "swap_columns_of_a_field": "pages of two columns of one field exchanged",
    "swap_columns_of_two_fields": "pages of columns of two fields exchanged",
    "swap_tables": "pages of two tables exchanged",
    "take_all_of_another_table": "all records of another table, locks and manifests too",
    "swap_bodies_under_pointers": "bodies exchanged, the records left as they were",
    "flip_a_bit_and_make_sums_anew": "one bit of a page, and every sum made anew",
    "cut_off_the_last_unit": "the last unit of a page cut off",
    "flip_a_bit_of_a_record": "one bit of a sealed record",
    "drop_the_last_row_group": "a row group taken away",
    "undelete_rows": "other rows deleted than were",
    "drop_a_patch": "a changed value taken away, so that the old one would show",
    "move_a_patch": "a changed value moved by one row",
    "swap_parts_of_pieces": "the sealed parts of two small appends exchanged",
    "change_an_open_value_beside": "an open value beside a sealed one changed in a small append",
    "no_manifest": "a manifest taken away",
    "manifest_of_another_table": "the manifest of another table",
    "no_lock": "a lock taken away",
    "own_lock": "a lock that the attacker can open",
    "schema: a flag cleared": "a schema that says that a column is not sealed",
    "schema: names exchanged": "a schema in which two columns have each other's names",
}


def changes(old: bytes, new: bytes) -> Iterator[list[Any]]:
    """Yield what makes one file of the other: [at, base64] or [at, from, n]."""
    padded = old[: len(new)].ljust(len(new), b"\0")
    at, text = 0, bytearray()

    def literal() -> Iterator[list[Any]]:
        if text:
            yield [at - len(text), b64encode(text).decode()]
            text.clear()

    while at < len(new):
        if padded[at : at + _GRAIN] == new[at : at + _GRAIN]:
            yield from literal()
            at += len(new[at : at + _GRAIN])
            continue
        found = old.find(new[at : at + _GRAIN]) if any(new[at : at + _GRAIN]) else -1
        if found < 0:
            text.append(new[at])
            at += 1
            continue
        yield from literal()
        n = _GRAIN
        while at + n < len(new) and found + n < len(old) and new[at + n] == old[found + n]:
            n += 1
        yield [at, found, n]
        at += n
    yield from literal()


def main() -> None:
    """Write all vectors."""
    attacked = runpy.run_path(str(FOLDER.parent / "attacked.py"))
    name = FOLDER.parent / "attacked.kist"
    old = name.read_bytes()
    secrets = [attacked["KEY"].hex(), attacked["OTHER"].hex()]

    def write(label: str, about: str, new: bytes, expect: str, **more: Any) -> None:
        vector = {
            "about": about,
            "expect": expect,
            "read": ["a", "b", "c"],
            "secrets": secrets,
            "file": name.name,
            "sha256": hashlib.sha256(new).hexdigest(),
            "size": len(new),
            "changes": list(changes(old, new)),
        } | more
        path = FOLDER / f"{label.replace(': ', '-').replace('_', '-').replace(' ', '-')}.json"
        path.write_text(json.dumps(vector, indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.kist"

        def edited(edit: Callable[[Any, int], None], begin: bytes = old) -> bytes:
            path.write_bytes(begin)
            edits.attack(path, edit, obvious=True)
            return path.read_bytes()

        for label, edit in edits.TAMPERED.items():
            write(label, ABOUT[label], edited(edit), "tampered")
        path.write_bytes(old)
        payload, bodies, (pointer,) = page(path, "c")
        attacked["change"](path)
        newer = path.read_bytes()
        write(
            "old page",
            "a page of an older version put back behind newer values",
            edited(put_page(payload, bodies), newer),
            "tampered",
        )
        other = Path(folder) / "other.kist"
        attacked["make"](other)
        write(
            "other file",
            "a page of another file, sealed with the same secrets",
            edited(put_page(*page(other, "c")[:2])),
            "tampered",
        )
        write(
            "taken away",
            "flag, lock and manifest taken away: seen by who gives the secret by name",
            edited(strip),
            "tampered",
            secrets={"t/c": secrets[1], "t/a": secrets[0]},
        )
        flipped = bytearray(old)
        flipped[pointer.offset + FRAME.size + pointer.head + 500] ^= 1
        write("flipped bit", "one bit of a page, as a disk does it", bytes(flipped), "damage")
        write(
            "cut off",
            "the file cut off within a page",
            old[: pointer.offset + FRAME.size + pointer.head + 500],
            "damage",
        )
        write("wrong secret", "secrets of others", old, "wrong secret", secrets=["00" * 32])
        write("one secret", "the secret of one field of two", old, "no secret", secrets=secrets[:1])
        write("whole", "nothing changed", old, "opens")


if __name__ == "__main__":
    with runpy.run_path(str(FOLDER.parent / "program.py"))["frozen"]("attacks"):
        main()
