"""What a bridge must know to give an object of another library back as it was.

These are the ``M`` records of a node: plain values by name, which nothing else depends on. Who
does not know a name ignores it; copies keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.plain import pack_value, unpack_value
from kist.format.values import MAX_INLINE, pack_record, unpack_record

if TYPE_CHECKING:
    from kist.engine import Transaction, View

__all__ = [
    "PANDAS",
    "ZONES",
    "count_on",
    "get_note",
    "get_zones",
    "names_a_file",
    "put_notes",
    "rename_in_notes",
]

PANDAS: Final = "pandas"
"""Index, labels and dtypes of a DataFrame (docs/format.md, "Metadata of other libraries")."""

ZONES: Final = "zones"
"""Time zones of datetime64 columns, which hold UTC: column -> name of the zone."""


def put_notes(txn: Transaction, node: int, notes: dict[str, Any]) -> None:
    """Put what a bridge must know of a node; empty notes leave no record."""
    for name, value in notes.items():
        if not value:
            continue
        payload = pack_value(value)
        if len(payload) <= MAX_INLINE:
            record = pack_record(payload)
        else:
            from kist.engine import Frame

            record = pack_record(b"", txn.write([Frame(FRAME_BLOB, node, 0, 0, payload)]))
        txn.put(keys.note(node, name), record)


def get_note(view: View, node: int, name: str) -> dict[Any, Any]:
    """Return a note, or an empty dict when there is none that this kist understands."""
    value = view.get(keys.note(node, name))
    if value is None:
        return {}
    pointers, payload = unpack_record(value)
    if pointers:
        payload = bytes(view.read(pointers[0]))
    note = unpack_value(payload)
    return note if isinstance(note, dict) else {}


def count_on(txn: Transaction, node: int, first: int | None) -> None:
    """Let labels that only count the rows of a frame go on from a row of the whole.

    None forgets them, for rows that do not follow each other there.
    """
    note = get_note(txn, node, PANDAS)
    index = note.get("index")
    if not isinstance(index, dict) or first == 0:
        return
    counted = index.get("range")
    if not isinstance(counted, list | tuple):
        return
    index = {name: value for name, value in index.items() if name != "range"}
    if first is not None and len(counted) == 2 and all(type(part) is int for part in counted):
        index["range"] = (counted[0] + first * counted[1], counted[1])
    txn.delete(keys.note(node, PANDAS))
    put_notes(txn, node, {PANDAS: {**note, "index": index}})


def rename_in_notes(txn: Transaction, node: int, old: str, new: str | None) -> None:
    """Let notes follow a column to its new name, or forget it when there is none."""
    for name in (ZONES, PANDAS):
        note = get_note(txn, node, name)
        if note:
            changed = _renamed_zones(note, old, new) if name == ZONES else _renamed(note, old, new)
            if changed != note:
                txn.delete(keys.note(node, name))
                put_notes(txn, node, {name: changed})


def _renamed_zones(zones: dict[Any, Any], old: str, new: str | None) -> dict[Any, Any]:
    out = {}
    for column, zone in zones.items():
        inside = isinstance(column, str) and (column == old or column.startswith(f"{old}."))
        if not inside:
            out[column] = zone
        elif new is not None:
            out[new + column[len(old) :]] = zone
    return out


def _renamed(note: dict[Any, Any], old: str, new: str | None) -> dict[Any, Any]:
    """Return the note of pandas: levels of the index, labels and dtypes by column."""
    out = dict(note)
    index, columns, dtypes = (note.get(part) for part in ("index", "columns", "dtypes"))
    # Types first: what a file says may be an array, which compares item by item.
    index = index if isinstance(index, dict) else {}
    columns = columns if isinstance(columns, dict) else {}
    levels, labels = index.get("levels"), columns.get("labels")
    if isinstance(levels, list | tuple) and any(_is(level, old) for level in levels):
        levels = [new if _is(level, old) else level for level in levels]
        # Without one of its levels, the others are ordinary columns.
        out["index"] = {**index, "levels": levels} if new is not None else {}
    if isinstance(labels, dict) and old in labels:
        labels = {name: label for name, label in labels.items() if name != old}
        out["columns"] = {**columns, "labels": labels}  # the new name is a label of its own
    if isinstance(dtypes, dict) and old in dtypes:
        out["dtypes"] = {name: dtype for name, dtype in dtypes.items() if name != old}
        if new is not None:
            out["dtypes"][new] = dtypes[old]
    return out


def _is(level: object, name: str) -> bool:
    return isinstance(level, str) and level == name


def names_a_file(text: str) -> bool:
    """Tell whether pandas would open a file of a name in this text: a zone such as ``dateutil//x``.

    It looks for zones in the texts of dtypes, too, and within those of intervals.
    """
    return "dateutil/" in text


def get_zones(view: View, node: int) -> dict[str, str]:
    """Return the time zones of columns, by name of the column."""
    zones = get_note(view, node, ZONES)
    return {
        name: zone
        for name, zone in zones.items()
        if isinstance(name, str) and isinstance(zone, str) and zone
    }
