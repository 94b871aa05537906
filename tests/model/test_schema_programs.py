"""Random programs of schema changes, with a NumPy structured array beside the table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_programs import indices, rows_of, same, small_groups

import kist

Array = np.ndarray[Any, Any]

DTYPES = ["i4", ">i2", "f8", "f4", "?", "S5", "U3", "M8[s]", "(2,3)i2", "u1"]
NESTED = np.dtype([("x", "i4"), ("y", "f4", (2,))])
CASTS = {"i4": "i8", ">i2": "f8", "f4": "f8", "u1": "i4", "S5": "S9", "U3": "U6"}


class Model:
    """Columns in order; computed ones as functions of the others."""

    def __init__(self, columns: dict[str, Array], n: int) -> None:
        self.columns = columns
        self.n = n
        self.formulas: dict[str, tuple[list[str], Callable[..., Array]]] = {}
        self.attrs: dict[str, int] = {}

    def copy(self) -> Model:
        new = Model(dict(self.columns), self.n)
        new.formulas, new.attrs = dict(self.formulas), dict(self.attrs)
        return new

    def compute(self) -> None:
        for name, (needs, formula) in self.formulas.items():
            with np.errstate(all="ignore"):
                self.columns[name] = formula(*(self.columns[need] for need in needs))

    def rows(self) -> Array:
        fields = [(name, values.dtype, values.shape[1:]) for name, values in self.columns.items()]
        out = np.zeros(self.n, fields)
        for name, values in self.columns.items():
            out[name] = values
        return out

    def given(self) -> list[str]:
        return [name for name in self.columns if name not in self.formulas]

    def dtype_of(self, name: str) -> np.dtype[Any]:
        values = self.columns[name]
        return np.dtype((values.dtype, values.shape[1:])) if values.ndim > 1 else values.dtype

    def numbers(self) -> list[str]:
        return [n for n, v in self.columns.items() if v.dtype.kind in "iuf" and v.ndim == 1]


def values_of(dtype: np.dtype[Any], n: int, seed: int) -> Array:
    return rows_of(np.dtype([("v", dtype)]), n, seed)["v"]


def repeated(one: Array, n: int) -> Array:
    return one[np.zeros(n, np.intp)]


class Both:
    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.store: Any = kist.open(path, "a", durability="none")
        first = rows_of(np.dtype([("a", "i4"), ("b", "f8")]), 70, 1)
        self.store["t"] = first
        self.model = Model({"a": first["a"].copy(), "b": first["b"].copy()}, 70)
        self.made = 0
        self.tags: dict[str, Array] = {}

    @property
    def table(self) -> Any:
        return self.store["t"]

    def name(self) -> str:
        self.made += 1
        return f"c{self.made}"

    def add(self, data: st.DataObject, seed: int) -> None:
        model, name = self.model, self.name()
        spec = data.draw(st.sampled_from([*DTYPES, "nested"]))
        dtype = NESTED if spec == "nested" else np.dtype(spec)
        position = data.draw(st.integers(0, len(model.columns)))
        if data.draw(st.booleans()):
            one = values_of(dtype, 1, seed)
            constant = one[0]
            kwargs = {"data": constant if one.ndim == 1 else one[0], "dtype": dtype}
            values = repeated(one, model.n)
        else:
            values = values_of(dtype, model.n, seed)
            blocks = (values[i : i + 50] for i in range(0, model.n, 50))
            kwargs = {"data": blocks if data.draw(st.booleans()) else values, "dtype": dtype}
            kwargs["fill_value"] = values_of(dtype, 1, 3)[0]
        self.table.add_column(name, position=position, attrs={"seed": seed}, **kwargs)
        model.attrs[name] = seed
        self.put(name, values, position)

    def put(self, name: str, values: Array, position: int) -> None:
        items = list(self.model.columns.items())
        items.insert(position, (name, values))
        self.model.columns = dict(items)

    def add_computed(self, data: st.DataObject, seed: int) -> None:
        model, name = self.model, self.name()
        numbers = model.numbers()
        if not numbers:
            return
        x, y = data.draw(st.sampled_from(numbers)), data.draw(st.sampled_from(numbers))
        virtual = data.draw(st.booleans())
        if data.draw(st.booleans()):
            tree = kist.expr(f"where({x} > 3, {x}, {y} * 1.5)")
            formula = lambda p, q: np.where(p > 3, p, q * 1.5)  # noqa: E731
        else:
            tree = kist.expr(f"({x} > 3) & ({y} < 100)")
            formula = lambda p, q: (p > 3) & (q < 100)  # noqa: E731
        column = self.table.add_column(name, tree, virtual=virtual)
        with np.errstate(all="ignore"):
            values = formula(model.columns[x], model.columns[y])
        if column.dtype != values.dtype:
            formula = widened(formula, column.dtype)
        model.formulas[name] = ([x, y], formula)
        model.columns[name] = values.astype(column.dtype)

    def drop(self, data: st.DataObject) -> None:
        model = self.model
        name = data.draw(st.sampled_from(list(model.columns)))
        needed = any(name in needs for needs, _ in model.formulas.values())
        if needed or len(model.columns) == 1:
            with pytest.raises(kist.errors.DTypeError):
                self.table.drop_column(name)
            return
        self.table.drop_column(name)
        del model.columns[name]
        model.formulas.pop(name, None)
        model.attrs.pop(name, None)

    def rename(self, data: st.DataObject) -> None:
        model = self.model
        old, new = data.draw(st.sampled_from(list(model.columns))), self.name()
        self.table.rename_column(old, new)
        follow = {old: new}
        model.columns = {follow.get(n, n): values for n, values in model.columns.items()}
        model.attrs = {follow.get(n, n): seed for n, seed in model.attrs.items()}
        model.formulas = {
            follow.get(n, n): ([follow.get(need, need) for need in needs], formula)
            for n, (needs, formula) in model.formulas.items()
        }

    def reorder(self, data: st.DataObject) -> None:
        names = data.draw(st.permutations(list(self.model.columns)))
        self.table.reorder(names)
        self.model.columns = {name: self.model.columns[name] for name in names}

    def cast(self, data: st.DataObject) -> None:
        model = self.model
        free = {n for needs, _ in model.formulas.values() for n in needs} | set(model.formulas)
        names = [n for n in model.given() if n not in free and model.dtype_of(n).str[1:] in KEYS]
        if not names:
            return
        name = data.draw(st.sampled_from(names))
        wanted = np.dtype(KEYS[model.dtype_of(name).str[1:]])
        self.table.cast_column(name, wanted)
        with np.errstate(all="ignore"):
            model.columns[name] = model.columns[name].astype(wanted)

    def append(self, n: int, seed: int, skip: bool) -> None:
        model = self.model
        new: dict[str, Array] = {}
        given: dict[str, Array] = {}
        for name in model.given():
            dtype = model.dtype_of(name)
            fill = self.table[name].fill_value
            if skip and fill is not None:
                one = np.zeros(1, np.dtype([("v", dtype)]))
                one["v"][0] = fill
                new[name] = repeated(one["v"], n)
                continue
            given[name] = new[name] = values_of(dtype, n, seed)
        if not given:
            return
        assert self.table.append(given) == n
        for name, values in new.items():
            joined = np.concatenate([model.columns[name], values])
            model.columns[name] = joined.astype(values.dtype)  # NumPy loses the byte order
        model.n += n

    def assign(self, data: st.DataObject, seed: int) -> None:
        name = data.draw(st.sampled_from(self.model.given()))
        index = data.draw(indices(self.model.n))
        values = self.model.columns[name].copy()
        new = values_of(self.model.dtype_of(name), len(values[index]), seed)
        self.table[name][index] = new
        values[index] = new
        self.model.columns[name] = values

    def delete(self, data: st.DataObject) -> None:
        gone = np.zeros(self.model.n, bool)
        gone[data.draw(indices(self.model.n))] = True
        self.table.delete(gone)
        self.model.columns = {n: values[~gone] for n, values in self.model.columns.items()}
        self.model.n = int((~gone).sum())

    def step(self, data: st.DataObject, what: int) -> None:
        seed = data.draw(st.integers(0, 40))
        model = self.model
        if what <= 2 or not model.n:
            size = data.draw(st.sampled_from([1, 7, 15, 16, 64, 130]))
            self.append(size, seed, data.draw(st.booleans()))
        elif what <= 4:
            self.add(data, seed)
        elif what == 5:
            self.add_computed(data, seed)
        elif what == 6:
            self.drop(data)
        elif what == 7:
            self.rename(data)
        elif what == 8:
            self.reorder(data)
        elif what == 9:
            self.cast(data)
        elif what <= 11:
            self.assign(data, seed)
        elif what == 12:
            self.delete(data)
        elif what == 13:
            self.store._session.engine.checkpoint()
        elif what == 14:
            self.reopen()
        elif what == 15:
            before = model.copy()
            with contextlib.suppress(ZeroDivisionError), self.store.transaction():
                for _ in range(3):
                    self.step(data, data.draw(st.integers(0, 12)))
                raise ZeroDivisionError
            self.model = before
        elif self.path != ":memory:":
            tag = f"tag {len(self.tags)}"
            self.store.tag(tag)
            model.compute()
            self.tags[tag] = model.rows()
        self.model.compute()

    def reopen(self) -> None:
        if self.path != ":memory:":
            self.store.close()
            self.store = kist.open(self.path, "a", durability="none")

    def check(self) -> None:
        self.model.compute()
        expected, table = self.model.rows(), self.table
        assert table.columns == expected.dtype.names
        assert same(table[:], expected)
        for name in expected.dtype.names or ():
            assert same(table[name][:], expected[name])
            assert dict(table[name].attrs) == (
                {"seed": self.model.attrs[name]} if name in self.model.attrs else {}
            )
        for name in self.model.numbers():
            hits = table.where(kist.expr(f"{name} > 2"))
            assert hits.indices().tolist() == np.flatnonzero(expected[name] > 2).tolist()
        assert list(table._check_records(table._view())) == []
        for tag, rows in self.tags.items():
            with kist.open(self.path, version=tag) as old:
                assert same(old["t"][:], rows)


KEYS = {np.dtype(old).str[1:]: new for old, new in CASTS.items() if old != ">i2"}


def widened(formula: Callable[..., Array], dtype: np.dtype[Any]) -> Callable[..., Array]:
    return lambda *args: formula(*args).astype(dtype)


def run(both: Both, data: st.DataObject) -> None:
    with both.store if both.path == ":memory:" else contextlib.nullcontext():
        for _ in range(data.draw(st.integers(4, 14))):
            both.step(data, data.draw(st.integers(0, 16)))
        both.check()


@settings(max_examples=60)
@given(data=st.data())
def test_a_table_follows_its_schema_as_an_array_would(data: st.DataObject) -> None:
    with small_groups():
        run(Both(":memory:"), data)


@settings(max_examples=40)
@given(data=st.data())
def test_files_and_tags_show_the_columns_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with small_groups():
        both = Both(tmp_path_factory.mktemp("schema") / "t.kist")
        try:
            run(both, data)
            both.reopen()
            both.check()
        finally:
            both.store.close()
