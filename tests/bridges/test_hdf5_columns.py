"""Columns of names and of cells in HDF5: enumerations and variable length, h5py's and PyTables'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError

h5py = pytest.importorskip("h5py")

TEXT: Any = np.dtypes.StringDType(na_object=None)
STATE = {"idle": 0, "busy": 7, "dead": -1}


def codes(report: Any) -> list[str]:
    return sorted(note.code for note in report.notes)


def enum(base: str = "i2") -> Any:
    return h5py.enum_dtype(STATE, base)


def kinds() -> dict[str, Any]:
    """Return a dtype of each kind that HDF5 has no plain type for."""
    return {
        "id": "i4", "enum": kist.enum({"p": -128, "q": 127}),
        "loose": kist.enum(["k", "l"], ordered=False), "text": kist.categorical("str"),
        "sizes": kist.categorical(str, ["z", "y"], ordered=True), "years": kist.categorical("i4"),
        "cells": kist.ragged("f4"), "bytes": kist.ragged(bytes), "moments": kist.ragged("M8[us]"),
        "points": kist.ragged(">i2", 3), "null": kist.nullable("i4"),
    }  # fmt: skip


def rows() -> list[tuple[Any, ...]]:
    moments = np.array(["2020-01-01"], "M8[us]")
    one = (1, "p", "k", "c1", "y", 5, [1, 2], b"x\0", moments, [[1, 2, 3]], 7)
    two = (2, None, None, None, None, None, [], b"", moments[:0], np.zeros((0, 3)), None)
    return [one, two, (3, "q", "l", "c2", "z", 4, [1], b"y", moments, [[4, 5, 6]] * 2, 8)]


def same(a: Any, b: Any) -> None:
    """Hold two tables against each other: kinds of columns, their categories, all values."""
    assert a.columns == b.columns and len(a) == len(b)
    for name in a.columns:
        x, y = a[name], b[name]
        assert x.info["dtype"] == y.info["dtype"], name
        assert x.to_arrow().to_pylist() == y.to_arrow().to_pylist(), name
        if "c" in str(x.info["dtype"]).split()[0] or "enum" in str(x.info["dtype"]):
            assert x.categories.tolist() == y.categories.tolist() and x.numbers == y.numbers


@pytest.mark.parametrize("flavour", ["h5py", "pytables"])
def test_columns_of_every_kind_go_out_and_come_back(tmp_path: Path, flavour: str) -> None:
    pytest.importorskip("pyarrow")
    if flavour == "pytables":
        pytest.importorskip("tables")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", dtype=kinds()).append(rows())
        store.create_table("u", dtype={"id": "i4", "r": kist.ragged("i8")})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour=flavour)
    assert codes(report) == ["hdf5.items" if flavour == "h5py" else "pytables.ragged"]
    assert kist.convert(tmp_path / "a.h5", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        assert list(b) == ["t", "u"]  # no arrays beside them
        same(b["t"], a["t"])
        same(b["u"], a["u"])


def test_enumerated_columns_of_h5py_are_enumerations(tmp_path: Path) -> None:
    dtype = np.dtype(
        [("id", "i4"), ("state", enum()), ("m", "f4", (2, 2)), ("in", [("e", enum())])]
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = np.array([(1, 7, 1.5, (0,)), (2, -1, 2.5, (7,))], dtype)
        file["x"] = np.array([0, 7], enum())
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert [(note.code, note.count) for note in report.notes] == [("hdf5.enum", 2)]
    with kist.open(tmp_path / "a.kist") as store:
        state = store["t"]["state"]
        assert state[:].tolist() == ["busy", "dead"] and state.numbers == STATE
        assert store["t"].where("state > 'dead'")["id"][:].tolist() == [1]
        assert store["t"]["m"][1].tolist() == [[2.5] * 2] * 2
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["t"].dtype["state"] == "i2" and file["t"]["state"].tolist() == [7, -1]
        assert h5py.check_enum_dtype(file["t"].dtype["state"]) == STATE
        assert h5py.check_enum_dtype(file["t"].dtype["in"]["e"]) == STATE
        assert "KIST" not in file["t"].attrs


def test_a_number_without_a_name_keeps_the_numbers_and_is_told(tmp_path: Path) -> None:
    values = np.zeros(200_000, np.dtype([("a", enum()), ("b", enum())]))
    values["b"][-1] = 3  # behind the first block
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = values
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert codes(report) == ["hdf5.enum"] and report.n_rows == 200_000 and report.n_tables == 1
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["b"][-1] == 3 and store["t"]["a"][-1] == "idle"
    with pytest.raises(ConversionError, match="without a name"):
        kist.convert(tmp_path / "a.h5", tmp_path / "b.kist", strict=True)
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        for name in "ab":
            assert h5py.check_enum_dtype(file["t"].dtype[name]) == STATE
        np.testing.assert_array_equal(file["t"]["b"], values["b"])


def test_enumerated_columns_of_pytables_come_in_with_their_default(tmp_path: Path) -> None:
    tables = pytest.importorskip("tables")
    column = tables.EnumCol(tables.Enum(STATE), "busy", base="int8")
    with tables.open_file(tmp_path / "a.h5", "w") as file:
        made = file.create_table("/", "t", {"state": column, "x": tables.Float64Col()})
        made.append([(7, 1.0), (-1, 2.0)])
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["state"][:].tolist() == ["busy", "dead"]
        assert store["t"]["state"].fill_value == "busy"
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5", flavour="pytables")
    with tables.open_file(tmp_path / "b.h5") as file:
        assert dict(file.root.t.get_enum("state")) == STATE and file.root.t.cols.state[0] == 7


def test_cells_of_h5py_are_ragged_columns_of_any_length(tmp_path: Path) -> None:
    dtype = np.dtype([("r", h5py.vlen_dtype(np.dtype("f4"))), ("s", h5py.string_dtype())])
    rng = np.random.default_rng(0)
    cells = [rng.random(n, "f4") for n in rng.integers(0, 9, 20_000)]
    values = np.zeros(len(cells), dtype)
    values["s"] = "é"
    for at, cell in enumerate(cells):
        values["r"][at] = cell
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = values
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        found = store["t"]["r"][:]
        assert found.dtype == kist.ragged("f4") and store["t"]["s"][0] == "é"
        np.testing.assert_array_equal(found.values, np.concatenate(cells))
        assert found.lengths.tolist() == list(map(len, cells))
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "b.h5") as file:
        assert h5py.check_vlen_dtype(file["t"].dtype["r"]) == "f4"
        assert file["t"]["r"][7].tolist() == cells[7].tolist()


def test_names_that_no_enumeration_can_have_are_text(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        made = store.create_table("t", dtype={"a": kist.categorical("str"), "b": "i4"})
        made.append([("", 1), ("x", 2)])
        many = store.create_table("u", dtype={"a": kist.categorical("str")})
        many.append({"a": [f"the name of number {k}" for k in range(3000)]})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert [(note.code, note.count) for note in report.notes] == [("hdf5.categories", 2)]
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["t"]["a"].tolist() == [b"", b"x"] and len(file["u"]) == 3000


@pytest.mark.parametrize(
    "known",
    [
        '{"categories": 5, "ragged": {"r": 3}}',
        '{"categories": {"e": {"fixed": [1], "absent": "x"}, "n": {"values": 3}}}',
        '{"ragged": {"r": {"like": {"$kist": "array", "value": ["<f8", [0, 0], ""]}}}}',
        '{"beside": {"q": ["x", 1], "p": 4, "o": ["/", {}], "n": ["", {}]}, "order": 3}',
    ],
)
def test_what_a_file_says_of_kist_is_not_trusted(tmp_path: Path, known: str) -> None:
    dtype = np.dtype([("e", enum()), ("r", h5py.vlen_dtype(np.dtype("i4")))])
    values = np.zeros(1, dtype)
    values["r"][0] = np.arange(2, dtype="i4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = values
        file["t"].attrs["KIST"] = known
    kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["e"][0] == "idle" and store["t"]["r"][0].tolist() == [0, 1]


def test_a_table_of_nothing_but_cells_is_refused_by_pytables(tmp_path: Path) -> None:
    pytest.importorskip("tables")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", dtype={"r": kist.ragged("f4")})
    with pytest.raises(ConversionError, match="flavour='h5py' has"):
        kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour="pytables")
    assert kist.convert(tmp_path / "a.kist", tmp_path / "a.h5").ok


def test_lists_of_text_are_json_and_come_back(tmp_path: Path) -> None:
    cells = [["a", None, "\0é"], None, [], ['"', "x" * 300]]
    whole = [(cell and [text or "" for text in cell]) or [] for cell in cells]
    dtype = {
        "id": "i4", "both": kist.nullable(kist.ragged(TEXT)), "cells": kist.ragged(str),
        "items": kist.ragged(TEXT),
    }  # fmt: skip
    with kist.open(tmp_path / "a.kist", "x") as store:
        table = store.create_table("t", dtype=dtype)
        items = [cell or [] for cell in cells]
        table.append({"id": range(4), "both": cells, "cells": whole, "items": items})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert codes(report) == ["hdf5.lists"]
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["t"]["cells"][3] == b'["\\"", "' + b"x" * 300 + b'"]'
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        for name, wanted in dtype.items():
            assert b["t"][name].dtype == wanted
        assert b["t"]["both"][:].to_list() == cells
        same(a["t"], b["t"])
    with pytest.raises(ConversionError, match=r"/t.both: PyTables has no .* of text"):
        kist.convert(tmp_path / "a.kist", tmp_path / "p.h5", flavour="pytables")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        rows = file["t"][:]
        rows["cells"][1] = b'{"no": "list"}'
        file["t"][:] = rows
    with pytest.raises(ConversionError, match=r"t.cells: text that is no list of text"):
        kist.convert(tmp_path / "a.h5", tmp_path / "c.kist")
