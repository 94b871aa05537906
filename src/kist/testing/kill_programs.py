"""What processes that will be killed do to a store, step by step, beside a model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import kist
from kist.testing import kill_kinds, programs

__all__ = ["DTYPE", "PROGRAMS", "Model", "Program", "take_step"]

DTYPE = np.dtype([("step", "i8"), ("n", "i4"), ("value", "f8"), ("text", "S6")])
MOST_ROWS = 4000
"""A deletion halves the table from here on: verifying must not become slower and slower."""


def _rows(step: int, n: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["step"], rows["n"] = step, np.arange(n)
    rows["value"] = step + rows["n"] / 100
    rows["text"] = f"s{step % 1000}".encode()
    return rows


def _picked(step: int, n: int) -> np.ndarray[Any, Any]:
    """Positions that a step touches, different from step to step."""
    return np.unique((np.arange(20) * 7919 + step * 104729) % n)


class Model:
    """What a store must hold after each step, in plain NumPy.

    Attributes
    ----------
    step : int
        Last step taken; 0 is a new store.
    rows : ndarray, shape (n,), dtype `DTYPE`
        Rows of the table.
    noted : int
        Value of the store's attribute ``step``; 0 when it is not there.
    """

    def __init__(self) -> None:
        self.step = 0
        self.rows = np.zeros(0, DTYPE)
        self.noted = 0

    def next(self) -> Model:
        """Return the model after one more step; this one stays."""
        new = Model()
        new.step, step = self.step + 1, self.step + 1
        rows, new.noted = self.rows.copy(), self.noted
        kind = step % 10
        if kind == 8:
            rows["value"][_picked(step, len(rows))] = -step
        elif kind == 9:
            gone = slice(0, len(rows) // 2) if len(rows) > MOST_ROWS else _picked(step, len(rows))
            rows = np.delete(rows, gone)
        else:
            rows = np.concatenate([rows, _rows(step, {6: 3, 7: 600}.get(kind, 10))])
        if kind == 6:
            new.noted = step
        new.rows = rows
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        with store.read():
            return self.is_in(store)

    def is_in(self, owner: Any) -> bool:
        """Tell whether a group holds exactly this."""
        noted = owner.attrs.get("step", 0)
        return bool(owner["rows"][:].tobytes() == self.rows.tobytes() and noted == self.noted)


def take_step(store: kist.Store, step: int, owner: Any = None) -> None:
    """Do step number `step` to a store, or a group of it, in one commit: see `Model.next`."""
    owner = store if owner is None else owner
    table = owner["rows"]
    kind = step % 10
    if kind == 6:
        with store.transaction(f"step {step}"):
            table.append(_rows(step, 3))
            owner.attrs["step"] = step
    elif kind == 8:
        table["value"][_picked(step, len(table))] = -step
    elif kind == 9:
        n = len(table)
        table.delete(slice(0, n // 2) if n > MOST_ROWS else _picked(step, n))
    else:
        table.append(_rows(step, 600 if kind == 7 else 10))


KEY = bytes(range(32))
OTHER = bytes(range(32, 64))


class SealedModel(Model):
    """The model of `take_sealed_step`: what `Model` has, and an array and a key store."""

    def next(self) -> SealedModel:
        """Return the model after one more step; this one stays."""
        new = SealedModel()
        before = super().next()
        new.step, new.rows, new.noted = before.step, before.rows, before.noted
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        steps = range(1, self.step + 1)
        with store.read():
            return bool(
                super().is_shown_by(store)
                and store["line"][:].tolist() == [step for step in steps if step % 3 == 0]
                and dict(store["runs"]) == {str(step % 7): step for step in steps}
            )


def make_sealed(store: kist.Store) -> None:
    """Make a table of which columns are sealed, an array and a key store, in one commit."""
    if "rows" not in store:
        with store.transaction():
            store.create_table("rows", dtype=DTYPE, encrypt={("value", "n"): KEY, "text": OTHER})
            store.create_array("line", shape=(0,), dtype="i8", chunks=(50,), encrypt=KEY)
            store.create_keystore("runs", encrypt=[KEY, OTHER])


def take_sealed_step(store: kist.Store, step: int) -> None:
    """Do a step to what `make_sealed` has made, in one commit; at times its keys change too."""
    with store.transaction():
        take_step(store, step)
        store["runs"][str(step % 7)] = step
        if step % 3 == 0:
            store["line"].append([step])
        if step % 8 == 5:
            name = ("rows", "line", "runs")[step % 3]
            store[name].rotate(now=step % 16 == 5)


class WardModel(Model):
    """The model of `take_ward_step`: what `Model` has, in a sealed group, beside an array."""

    def next(self) -> WardModel:
        """Return the model after one more step; this one stays."""
        new = WardModel()
        before = super().next()
        new.step, new.rows, new.noted = before.step, before.rows, before.noted
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        with store.read():
            ward, made = store["ward"], self.step // 4 * 4
            return self.is_in(ward) and (
                ward["sub/line"][:].tolist() == [*range(made, made + 50)]
                if made
                else "sub" not in ward
            )


def make_ward(store: kist.Store) -> None:
    """Make a sealed group with a table in it, in one commit."""
    if "ward" not in store:
        with store.transaction():
            store.create_group("ward", encrypt=KEY).create_table("rows", dtype=DTYPE)


def take_ward_step(store: kist.Store, step: int) -> None:
    """Do a step to what `make_ward` has made, in one commit; at times its keys change too."""
    with store.transaction():
        ward = store["ward"]
        take_step(store, step, ward)
        if step % 4 == 0:
            ward.create_array("sub/line", np.arange(step, step + 50), overwrite=True)
        if step % 8 == 5:
            ward.rotate(now=step % 16 == 5)


class Program(NamedTuple):
    """What writers do. A model has ``step``, ``next()`` and ``is_shown_by(store)``."""

    first: Callable[[], Any]
    """The model of a store before the first step."""
    prepare: Callable[[kist.Store], object]
    """Makes a new store ready for the first step, in one commit at most."""
    is_ready: Callable[[kist.Store], bool]
    """Whether that was done."""
    take: Callable[[kist.Store, Any], None]
    """Does to a store what ``next()`` does to the model."""
    options: Mapping[str, Any] = {}
    """Of `kist.open`, for whoever opens the store."""
    making: Mapping[str, Any] = {}
    """More of them, for who may have to make it."""
    beside: Callable[[Path], None] = lambda folder: None
    """Puts files into the folder of the store, before anybody works there."""


PROGRAMS = {
    "rows": Program(
        Model,
        lambda store: store.require_table("rows", dtype=DTYPE),
        lambda store: "rows" in store,
        lambda store, model: take_step(store, model.step + 1),
    ),
    "objects": Program(
        lambda: programs.World(0), lambda store: None, lambda store: True, programs.take_step
    ),
    "few": Program(
        kill_kinds.FewModel,
        kill_kinds.make_few,
        lambda store: "rows" in store,
        kill_kinds.take_few,
    ),
    "kinds": Program(
        kill_kinds.KindsModel,
        kill_kinds.make_kinds,
        lambda store: "cells" in store,
        kill_kinds.take_kinds,
        beside=kill_kinds.put_part,
    ),
    "ward": Program(
        WardModel,
        make_ward,
        lambda store: "ward" in store,
        lambda store, model: take_ward_step(store, model.step + 1),
        {"secrets": KEY},
    ),
    "sealed": Program(
        SealedModel,
        make_sealed,
        lambda store: "rows" in store,
        lambda store, model: take_sealed_step(store, model.step + 1),
        {"secrets": [KEY, OTHER]},
    ),
    "sealed-store": Program(
        Model,
        lambda store: store.require_table("rows", dtype=DTYPE),
        lambda store: "rows" in store,
        lambda store, model: take_step(store, model.step + 1),
        {"secrets": {"/": KEY}},
        {"encrypt": KEY},
    ),
}
