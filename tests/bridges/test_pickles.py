"""Pickles, joblib dumps and shelves: refused, or read when that is allowed."""

from __future__ import annotations

import dbm.dumb
import pickle
import shelve
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main
from kist.errors import ConversionError, CorruptDataError


class Spy:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def dumped(path: Path, value: Any) -> Path:
    if path.suffix == ".joblib":
        pytest.importorskip("joblib").dump(value, path)
    elif path.suffix == ".shelf":
        with shelve.open(str(path), "n") as shelf:
            shelf.update(value if isinstance(value, dict) else {"value": value})
        return next(p for p in path.parent.iterdir() if p.name.startswith(path.name))
    else:
        path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("name", ["a.pkl", "a.joblib", "a.shelf"])
def test_nothing_is_unpickled_unless_allowed(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    source = dumped(tmp_path / name, Spy(trace))
    form = {"a.pkl": "pickle", "a.joblib": "joblib", "a.shelf": "shelve"}[name]
    for options in ({}, {"allow_pickle": False}, {"allow_pickle": "yes"}):
        with pytest.raises(ConversionError, match="--allow-pickle"):
            kist.convert(source, tmp_path / "a.kist", format=form, **options)
    assert not trace.exists() and not (tmp_path / "a.kist").exists()


@pytest.mark.parametrize("name", ["a.pkl", "a.joblib"])
def test_arrays_tables_and_groups_come_in(tmp_path: Path, name: str) -> None:
    pd = pytest.importorskip("pandas")
    value = {
        "x": np.arange(6.0).reshape(2, 3),
        "rows": np.array([(1, 2.5)], "i4,f8"),
        "words": np.array(["a", None], object),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["p", "q"]}, index=[5, 6]),
        "inner": {"y": np.int8([1, 2]), "n": 3, "l": [1, {"k": None}]},
        "pair": (np.arange(2), np.arange(3)),
        "odd": Path("nothing"),
    }
    source = dumped(tmp_path / name, value)
    report = kist.convert(source, tmp_path / "a.kist", allow_pickle=True)
    assert {n.code for n in report.notes} == {"pickle.index", "pickle.object", "pickle.sequence"}
    with kist.open(tmp_path / "a.kist") as store:
        np.testing.assert_array_equal(store["x"][...], value["x"])
        assert store["rows"].kind == "table" and store["words"][:].tolist() == ["a", None]
        assert store["frame"]["b"][:].tolist() == ["p", "q"]
        assert store["inner/y"].dtype == "i1" and store["inner"].attrs["l"] == [1, {"k": None}]
        assert store["pair/1"][:].tolist() == [0, 1, 2] and "odd" not in store
    with pytest.raises(ConversionError, match="strict"):
        kist.convert(source, tmp_path / "b.kist", allow_pickle=True, strict=True)
    assert not (tmp_path / "b.kist").exists()


def test_single_values_get_the_name_of_the_file(tmp_path: Path) -> None:
    kist.convert(dumped(tmp_path / "x.pkl", np.arange(3)), tmp_path / "a.kist", allow_pickle=True)
    store_path = f"{tmp_path / 'a.kist'}:deep/v"
    kist.convert(dumped(tmp_path / "v.pkl", (1, "a")), store_path, allow_pickle=True)
    kist.convert(dumped(tmp_path / "k.pkl", {1: "a", 2: [3]}), f"{tmp_path / 'a.kist'}:k",
                 allow_pickle=True)  # fmt: skip
    with kist.open(tmp_path / "a.kist") as store:
        assert store["x"][:].tolist() == [0, 1, 2] and store["deep/v"]["value"] == (1, "a")
        assert dict(store["k"].items()) == {1: "a", 2: [3]}


def test_a_shelf_becomes_a_shelf(tmp_path: Path) -> None:
    value = {"a": [1, 2], "é": {"x": (1, None)}, "array": np.arange(4), "odd": Path("nothing")}
    source = dumped(tmp_path / "s.shelf", value)
    report = kist.convert(source, tmp_path / "a.kist", format="shelve", allow_pickle=True)
    assert [n.code for n in report.notes] == ["pickle.object"]
    with kist.shelf(tmp_path / "a.kist", "r") as shelf:
        assert sorted(shelf) == ["a", "array", "é"] and shelf["é"] == {"x": (1, None)}
        np.testing.assert_array_equal(shelf["array"], np.arange(4))


def test_damaged_and_useless_files_change_nothing(tmp_path: Path) -> None:
    source = dumped(tmp_path / "a.pkl", np.arange(1000))
    source.write_bytes(source.read_bytes()[:500])
    with pytest.raises(CorruptDataError):
        kist.convert(source, tmp_path / "a.kist", allow_pickle=True)
    with pytest.raises(ConversionError, match="without any data"):
        kist.convert(dumped(source, Path("x")), tmp_path / "a.kist", allow_pickle=True)
    with kist.open(tmp_path / "b.kist", "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(ConversionError, match="does not write"):
        kist.convert(tmp_path / "b.kist", tmp_path / "c.pkl")
    with pytest.raises(TypeError, match="allow_pickle"):
        kist.convert(f"{tmp_path / 'b.kist'}:x", tmp_path / "c.b2nd", allow_pickle=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pkl", "b.kist"]


def test_the_command_line_asks_for_the_flag(tmp_path: Path) -> None:
    source = dumped(tmp_path / "x.pkl", np.arange(3))
    runner = click.testing.CliRunner()
    refused = runner.invoke(main.cli, ["convert", str(source), str(tmp_path / "a.kist")])
    assert refused.exit_code != 0 and "--allow-pickle" in f"{refused.output} {refused.exception}"
    done = runner.invoke(
        main.cli, ["convert", str(source), str(tmp_path / "a.kist"), "--allow-pickle"]
    )
    assert done.exit_code == 0, done.output


def test_plain_values_alone_are_attributes(tmp_path: Path) -> None:
    values = {"rate": 44_100, "name": "rig", "steps": [1, 2], "none": None}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(values))
    assert kist.convert(tmp_path / "a.pkl", tmp_path / "a.kist", allow_pickle=True).ok
    with kist.open(tmp_path / "a.kist") as store:
        assert dict(store.attrs) == values
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"f": print}))
    with pytest.raises(ConversionError, match="without any data"):
        kist.convert(tmp_path / "b.pkl", tmp_path / "b.kist", allow_pickle=True)


def test_masks_are_kept_beside_values(tmp_path: Path) -> None:
    found = {"m": np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]), "n": np.ma.array([1, 2])}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(found))
    report = kist.convert(tmp_path / "a.pkl", tmp_path / "a.kist", allow_pickle=True)
    assert [note.code for note in report.notes] == ["pickle.mask"]
    with kist.open(tmp_path / "a.kist") as store:
        assert store["m/values"][:].tolist() == [[1, 2], [3, 4]]
        assert store["m/valid"][:].tolist() == [[True, False], [True, True]]
        assert store["n"][:].tolist() == [1, 2]


def test_what_pandas_calls_an_index_or_a_moment_comes_in(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    found = {
        "index": pd.Index([5, 6], name="k"), "kinds": pd.Categorical(["a", "b", "a"]),
        "when": pd.Timestamp("2026-01-02"), "x": np.arange(2),
    }  # fmt: skip
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(found))
    assert kist.convert(tmp_path / "a.pkl", tmp_path / "a.kist", allow_pickle=True).ok
    with kist.open(tmp_path / "a.kist") as store:
        assert store["index"]["k"][:].tolist() == [5, 6]
        assert store["kinds"][:].tolist() == [("a",), ("b",), ("a",)]
        assert store.attrs["when"] == np.datetime64("2026-01-02")


def test_a_shelf_is_found_by_the_name_that_it_was_opened_by(tmp_path: Path) -> None:
    with dbm.dumb.open(str(tmp_path / "a.shelf"), "n") as file, shelve.Shelf(file) as shelf:
        shelf["x"] = np.arange(3)
    assert not (tmp_path / "a.shelf").exists()
    assert kist.convert(tmp_path / "a.shelf", tmp_path / "a.kist", allow_pickle=True).ok
    with kist.shelf(tmp_path / "a.kist") as shelf:
        assert shelf["x"].tolist() == [0, 1, 2]
