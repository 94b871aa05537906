"""More that processes do which will be killed: small commits, newer columns and links, groups.

`kist.testing.kill_programs` has the plain programs, and says what a model is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import kist
from kist.testing.column_work import DTYPE as CELLS
from kist.testing.column_work import cells

__all__ = ["FewModel", "KindsModel", "make_few", "make_kinds", "put_part", "take_few", "take_kinds"]

ROW = np.dtype([("step", "i8"), ("n", "i4"), ("value", "f8")])
MOST_CELLS = 900
"""Half of them go from here on: a model is a list in Python."""
PART = "part.kist"
Cell = tuple[Any, ...]


# Small commits, by handles that are kept


def _rows(step: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(7, ROW)
    rows["step"], rows["n"], rows["value"] = step, np.arange(7), step / 8
    return rows


def _value(step: int) -> Any:
    return bytes([step % 251]) * 40_000 if step % 37 == 9 else [step, "x" * (step % 300)]


class FewModel:
    """What `take_few` leaves.

    Attributes
    ----------
    step : int
        Last step taken.
    rows : list of int
        Steps whose rows are there.
    keys : dict of str to int
        Key -> step that has put it.
    held : tuple or None
        A store, and the handles of its table and key store.
    """

    def __init__(self) -> None:
        self.step = 0
        self.rows: list[int] = []
        self.keys: dict[str, int] = {}
        self.held: tuple[Any, Any, Any] | None = None

    def next(self) -> FewModel:
        """Return the model after one more step; this one stays."""
        new = FewModel()
        new.step = step = self.step + 1
        new.rows, new.keys, new.held = self.rows, self.keys, self.held
        if step % 60 == 0:
            new.rows = self.rows[len(self.rows) // 2 :]
        elif step // 5 % 2:
            new.rows = [*self.rows, step]
        else:
            new.keys = self.keys | {f"k{step % 40}": step}
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        with store.read():
            rows, keys = store["rows"][:], dict(store["runs"])
        wanted = b"".join(_rows(step).tobytes() for step in self.rows)
        return rows.tobytes() == wanted and keys == {
            key: _value(step) for key, step in self.keys.items()
        }


def make_few(store: kist.Store) -> None:
    """Make a table and a key store, in one commit."""
    if "rows" not in store:
        with store.transaction():
            store.create_table("rows", dtype=ROW)
            store.create_keystore("runs")


def take_few(store: kist.Store, model: FewModel) -> None:
    """Append a few rows, or put a key, by the same handles as before."""
    if model.held is None or model.held[0] is not store:
        model.held = store, store["rows"], store["runs"]
    _, rows, keys = model.held
    step = model.step + 1
    if step % 60 == 0:
        rows.delete(slice(0, 7 * (len(model.rows) // 2)))
    elif step // 5 % 2:
        rows.append(_rows(step))
    else:
        keys[f"k{step % 40}"] = _value(step)


# Columns with nulls, categories and cells, indexes, links


def put_part(folder: Path) -> None:
    """Put the file there that is linked."""
    with kist.open(folder / PART, "w", durability="none") as part:
        part["t"] = _rows(1)


def _new(n: int, first: int) -> list[Cell]:
    return list(zip(*cells(n, first).values(), strict=True))


def _columns(rows: list[Cell]) -> dict[str, list[Any]]:
    return dict(zip(CELLS, map(list, zip(*rows, strict=True)), strict=True))


class KindsModel:
    """What `take_kinds` leaves.

    Attributes
    ----------
    step : int
        Last step taken.
    cells : list of tuple
        Rows of the table.
    days : list of int
        Steps that made tables that are there.
    """

    def __init__(self) -> None:
        self.step = 0
        self.cells: list[Cell] = []
        self.days: list[int] = []

    def next(self) -> KindsModel:
        """Return the model after one more step; this one stays."""
        new = KindsModel()
        new.step = step = self.step + 1
        rows, new.days = list(self.cells), self.days
        kind, n = step % 9, len(rows)
        if kind == 2:
            at = step * 7919 % n
            rows[at] = (*rows[at][:4], [step % 90, 1], *rows[at][5:])
        elif kind == 3:
            rows = [(*r[:4], None, *r[5:]) if r[0] % 11 == step % 11 else r for r in rows]
        elif kind == 4:
            changed = {row[0]: row for row in _upserted(step, rows)}
            rows = [changed.pop(row[0], row) for row in rows] + list(changed.values())
        elif kind == 5:
            rows = rows[n // 2 :] if n > MOST_CELLS else [r for r in rows if r[0] % 7 != step % 7]
        elif kind == 6:
            new.days = [*self.days[-3:], step]
        elif kind == 7:
            rows = [(*r[:2], f"w{step % 20}", *r[3:]) if r[0] % 13 == 5 else r for r in rows]
        elif kind != 8:
            rows += _new(150 if kind == 1 else 4, 1000 * step)
        new.cells = rows
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        with store.read():
            table = store["cells"]
            columns = [table[name][:] for name in CELLS]
            shown = [c.to_list() if isinstance(c, kist.Ragged) else c.tolist() for c in columns]
            wanted = list(_columns(self.cells).values()) if self.cells else [[]] * len(CELLS)
            days = b"".join(_rows(step).tobytes() for step in self.days)
            return bool(
                shown == wanted
                and all(
                    table.where("id == wanted", wanted=row[0]).indices().tolist() == [at]
                    for at, row in enumerate(self.cells)
                    if at % 97 == 0
                )
                and (store["all"][:].tobytes() == days if self.days else "days" not in store)
                and ("newest" in store) == bool(self.days)
                and ("linked" not in store or store["linked"][:].tobytes() == _rows(1).tobytes())
            )


def _upserted(step: int, rows: list[Cell]) -> list[Cell]:
    return [(row[0], step, *row[2:]) for row in rows[-20::3]] + _new(3, 1000 * step)


def make_kinds(store: kist.Store) -> None:
    """Make a table with an index, and a linked table, in one commit."""
    if "cells" not in store:
        with store.transaction():
            store.create_table("cells", dtype=CELLS).create_index("id", unique=True)
            if Path(store.path).with_name(PART).exists():
                store.create_union("linked", "t", files=PART)


def take_kinds(store: kist.Store, model: KindsModel) -> None:
    """Take the step after a model, in one commit."""
    step, table = model.step + 1, store["cells"]
    kind, n = step % 9, len(model.cells)
    if kind == 2:
        table["hits"][step * 7919 % n] = [step % 90, 1]
    elif kind == 3:
        table.where("id % 11 == rest", rest=step % 11).update({"hits": None})
    elif kind == 4:
        table.upsert(_columns(_upserted(step, model.cells)), on="id")
    elif kind == 5:
        if n > MOST_CELLS:
            table.delete(slice(0, n // 2))
        else:
            table.where("id % 7 == rest", rest=step % 7).delete()
    elif kind == 6:
        with store.transaction():
            store[f"days/{step:09}"] = _rows(step)
            store.create_link("newest", f"days/{step:09}", overwrite=True)
            if not model.days:
                store.create_union("all", "days/*")
            for old in model.days[:-3]:
                del store[f"days/{old:09}"]
    elif kind == 7:
        table.where("id % 13 == 5").update({"word": f"w{step % 20}"})
    elif kind == 8:
        with store.transaction():
            table.drop_index("id")
            table.create_index("id", unique=True)
            if "linked" in store:
                store.open_link("linked").renew()
    else:
        table.append(_columns(_new(150 if kind == 1 else 4, 1000 * step)))
