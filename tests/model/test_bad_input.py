"""Bad input through the public API: the right error, words that help, and the file unchanged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import layout, superblock

ROWS = np.array(
    [(1, 0.5, b"one", "eins", "2024-01-01"), (2, 1.5, b"two", "zwei", "2024-01-02")] * 20,
    [("a", "i4"), ("b", "f8"), ("c", "S4"), ("d", "U4"), ("e", "M8[D]")],
)

Change = Callable[[Any], object]


@pytest.fixture
def whole(path: Path) -> Path:
    """A store in good order."""
    with kist.open(path, "x") as store:
        store["t"] = ROWS
        store["g/u"] = ROWS[:3]
        store["g/x"] = np.arange(12).reshape(3, 4)
        store.attrs["n"] = 1
    return path


@pytest.fixture
def unchanged(whole: Path) -> Iterator[Path]:
    """The same, whose bytes must be as they were when the test ends."""
    before = whole.read_bytes()
    yield whole
    assert whole.read_bytes() == before
    assert os.listdir(whole.parent) == [whole.name]


# Files


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"SQLite format 3\0", "SQLite"),
        (b"PAR1", "Parquet"),
        (b"\x93NUMPY\x01\0", "NPY"),
        (b"PK\x03\x04", "zip"),
        (b"a,b,c\n1,2,3\n", "not a kist store"),
        (bytes(range(1, 256)), "not a kist store"),
    ],
)
@pytest.mark.parametrize("mode", ["r", "r+", "a", "w"])
def test_a_file_of_another_kind_is_told_what_it_is(
    path: Path, head: bytes, word: str, mode: str
) -> None:
    content = head + b"\x07" * 20_000
    path.write_bytes(content)
    with pytest.raises(kist.NotAStoreError, match=word) as caught:
        kist.open(path, mode)
    assert path.name in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_an_empty_file_is_no_finished_store(path: Path, mode: str) -> None:
    path.touch()
    with pytest.raises(kist.NotAStoreError, match="empty"):
        kist.open(path, mode)
    assert path.stat().st_size == 0


def cuts(n: int) -> list[int]:
    places = [1, 7, 8, 100, 0x1000, 0x1001, 0x2000, 0x3000, 0x4000, 0x4001, 0x24000, 0x44000]
    return [cut for cut in [*places, 0x44040, n // 2, n - 4096, n - 64, n - 1] if 0 < cut < n]


def contents(store: kist.Store) -> list[bytes]:
    return [store["t"][:].tobytes(), store["g/u"][:].tobytes(), repr(dict(store.attrs)).encode()]


def test_a_truncated_file_raises_or_shows_what_it_held(path: Path) -> None:
    with kist.open(path, "x") as store:
        store["t"] = np.repeat(ROWS, 400)
        store["g/u"] = ROWS
        for n in range(40):
            store.attrs["n"] = n
    data = path.read_bytes()
    with kist.open(path) as store:
        expected = contents(store)
    refused = 0
    for cut in cuts(len(data)):
        path.write_bytes(data[:cut])
        for mode in ("r", "r+", "a"):
            try:
                with kist.open(path, mode) as store:
                    assert contents(store) == expected
            except kist.FormatError as error:
                assert str(path) in str(error) or "byte" in str(error), str(error)
                refused += 1
            assert path.read_bytes() == data[:cut], "it was only read"
    assert refused > 30


def with_super(path: Path, **changes: int) -> None:
    """Write both supers with other contents and right sums."""
    data = bytearray(path.read_bytes())
    found = superblock.unpack_super(bytes(data[: layout.HEAD_BYTES]), "")
    packed = found._replace(**changes).pack()
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[at : at + len(packed)] = packed
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w"])
@pytest.mark.parametrize("kind", ["version", "feature"])
def test_a_file_of_a_newer_kist_asks_for_a_newer_kist(whole: Path, mode: str, kind: str) -> None:
    if kind == "version":
        data = bytearray(whole.read_bytes())
        for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
            data[at + 8 : at + 10] = (layout.FORMAT_VERSION + 1).to_bytes(2, "little")
        whole.write_bytes(bytes(data))
    else:
        with_super(whole, features_read=1 << 40)
    before = whole.read_bytes()
    with pytest.raises(kist.UnsupportedVersionError, match="newer kist"):
        kist.open(whole, mode)
    assert whole.read_bytes() == before


def test_a_file_with_unknown_write_features_can_be_read_only(whole: Path) -> None:
    with_super(whole, features_write=1 << 9)
    before = whole.read_bytes()
    for mode in ("r+", "a"):
        with pytest.raises(kist.ReadOnlyError, match="newer kist"):
            kist.open(whole, mode)
    with kist.open(whole) as store:
        assert store["t"][:].tobytes() == ROWS.tobytes()
    assert whole.read_bytes() == before


def test_unknown_ignorable_features_are_ignored(whole: Path) -> None:
    with_super(whole, features_ignorable=1 << 63)
    with kist.open(whole, "r+") as store:
        store["t"].append(ROWS)
    with kist.open(whole) as store:
        assert len(store["t"]) == 2 * len(ROWS)


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w", "x"])
def test_a_directory_is_no_store(tmp_path: Path, mode: str) -> None:
    with pytest.raises(kist.KistError, match="directory") as caught:
        kist.open(tmp_path, mode, overwrite=mode == "w")
    assert isinstance(caught.value, kist.NotAStoreError if mode != "x" else kist.StoreExistsError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_missing_path_is_not_found(path: Path, mode: str) -> None:
    with pytest.raises(kist.StoreNotFoundError, match="mode 'a'") as caught:
        kist.open(path, mode)
    assert isinstance(caught.value, FileNotFoundError)
    assert path.name in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["r", "r+", "a", "w", "x"])
def test_a_missing_folder_is_not_found_and_not_made(path: Path, mode: str) -> None:
    with pytest.raises(kist.StorageError) as caught:
        kist.open(path / "t.kist", mode)
    assert isinstance(caught.value, FileNotFoundError)
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "nul\0byte", 7, None, b"bytes"])
def test_what_is_no_path_raises(name: Any) -> None:
    with pytest.raises((TypeError, ValueError, kist.KistError)):
        kist.open(name, "a")


# Stores in the wrong state

USES: dict[str, Change] = {
    "get": lambda s: s["t"],
    "list": list,
    "len": len,
    "in": lambda s: "t" in s,
    "attribute": lambda s: s.attrs["n"],
    "set": lambda s: s.__setitem__("v", ROWS),
    "delete": lambda s: s.__delitem__("t"),
    "transaction": lambda s: s.transaction().__enter__(),
    "tree": lambda s: str(s.tree()),
    "info": lambda s: s.info,
    "tags": lambda s: s.tags,
    "sync": lambda s: s.sync(),
    "compact": lambda s: s.compact(),
    "check": lambda s: s.check(),
}
TABLE_USES: dict[str, Change] = {
    "row": lambda t: t[0],
    "rows": lambda t: t[:],
    "column": lambda t: t["a"][:],
    "len": len,
    "dtype": lambda t: t.dtype,
    "iterate": list,
    "blocks": lambda t: list(t.blocks()),
    "where": lambda t: t.where("a > 1").count(),
    "array": np.asarray,
    "append": lambda t: t.append(ROWS),
    "assign": lambda t: t.__setitem__(0, ROWS[0]),
    "delete": lambda t: t.delete(0),
    "attribute": lambda t: t.attrs.update(x=1),
    "info": lambda t: t.info,
    "name": lambda t: t.name,
}
CHANGES: dict[str, Change] = {
    "append": lambda s: s["t"].append(ROWS),
    "append nothing": lambda s: s["t"].append(ROWS[:0]),
    "assign": lambda s: s["t"].__setitem__(0, ROWS[0]),
    "assign a column": lambda s: s["t"]["a"].__setitem__(slice(None), 0),
    "delete rows": lambda s: s["t"].delete(0),
    "update": lambda s: s["t"].where("a > 1").update({"b": 0.0}),
    "delete where": lambda s: s["t"].where("a > 1").delete(),
    "delete no rows": lambda s: s["t"].where("a > 100").delete(),
    "appender": lambda s: s["t"].appender().__enter__(),
    "attribute": lambda s: s["t"].attrs.update(x=1),
    "column attribute": lambda s: s["t"]["a"].attrs.update(x=1),
    "delete attribute": lambda s: s.attrs.pop("n"),
    "create": lambda s: s.create_table("v", ROWS),
    "replace": lambda s: s.__setitem__("t", ROWS),
    "group": lambda s: s.require_group("v"),
    "delete": lambda s: s.__delitem__("t"),
    "move": lambda s: s.move("t", "v"),
    "copy": lambda s: s.copy("t", "v"),
    "begin": lambda s: s.begin(),
    "tag": lambda s: s.tag("v"),
    "compact": lambda s: s.compact(),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_store_says_so(unchanged: Path, use: str) -> None:
    store = kist.open(unchanged, "r+")
    store.close()
    with pytest.raises(kist.StoreClosedError, match=r"t\.kist.* is closed"):
        USES[use](store)


@pytest.mark.parametrize("use", TABLE_USES)
def test_a_table_of_a_closed_store_says_so(unchanged: Path, use: str) -> None:
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
    with pytest.raises(kist.StoreClosedError, match=r"t\.kist.* is closed"):
        TABLE_USES[use](table)


@pytest.mark.parametrize("use", TABLE_USES)
def test_a_table_that_was_deleted_says_so(whole: Path, use: str) -> None:
    with kist.open(whole, "r+") as store:
        table = store["t"]
        del store["t"]
        before = whole.read_bytes()
        with pytest.raises(kist.StaleHandleError, match="/t"):
            TABLE_USES[use](table)
        assert whole.read_bytes() == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_opened_for_reading_says_how_to_write(unchanged: Path, change: str) -> None:
    with kist.open(unchanged) as store, pytest.raises(kist.ReadOnlyError, match=r"'r\+' or 'a'"):
        CHANGES[change](store)


@pytest.mark.parametrize("change", CHANGES)
def test_an_old_version_cannot_be_changed(whole: Path, change: str) -> None:
    with kist.open(whole, "r+") as store:
        store.tag("old")
    before = whole.read_bytes()
    with (
        kist.open(whole, version="old") as store,
        pytest.raises(kist.ReadOnlyError, match="version"),
    ):
        CHANGES[change](store)
    assert whole.read_bytes() == before


@pytest.mark.parametrize("version", [10**6, -1, "no such tag"])
def test_a_version_that_is_not_kept_is_refused(unchanged: Path, version: Any) -> None:
    with pytest.raises(kist.SnapshotExpiredError, match=str(version)):
        kist.open(unchanged, version=version)


# Rows

WRONG_ROWS: dict[str, tuple[Any, str]] = {
    "a missing field": (ROWS[["a", "b", "c", "d"]], "e"),
    "an unknown field": (np.zeros(2, [*ROWS.dtype.descr, ("extra", "i4")]), "extra"),
    "other fields": (np.zeros(2, [("x", "i4"), ("y", "f8")]), "x"),
    "plain numbers": (np.zeros(3), ""),
    "a number": (7, ""),
    "text": ("abc", ""),
    "none": (None, ""),
    "too few values": ((1, 2.0), "5"),
    "too many values": ((1, 2.0, b"", "", "2024-01-01", 6), "5"),
    "a dict without a column": ({"a": [1], "b": [2.0]}, "c"),
    "columns of different lengths": (
        {"a": [1, 2], "b": [1.0], "c": [b"", b""], "d": ["", ""], "e": ["NaT", "NaT"]},
        "",
    ),
    "an integer that is too large": ((2**31, 0.0, b"", "", "2024-01-01"), "a"),
    "a fraction for an integer": ((1.5, 0.0, b"", "", "2024-01-01"), "a"),
    "nan for an integer": ((float("nan"), 0.0, b"", "", "2024-01-01"), "a"),
    "a null": ((None, 0.0, b"", "", "2024-01-01"), "a"),
    "text for a number": ((1, "text", b"", "", "2024-01-01"), "b"),
    "bytes that would be cut": ((1, 0.0, b"12345", "", "2024-01-01"), "c"),
    "text that would be cut": ((1, 0.0, b"", "12345", "2024-01-01"), "d"),
    "text beyond ASCII for bytes": ((1, 0.0, "ä", "", "2024-01-01"), "c"),
    "a time for a date": ((1, 0.0, b"", "", np.datetime64("2024-01-01T12", "h")), "e"),
    "no date": ((1, 0.0, b"", "", "yesterday"), "e"),
    "a bad row among good ones": (
        [tuple(ROWS[0].tolist()), (2**40, 0.0, b"", "", "2024-01-01")],
        "a",
    ),
    "rows of different lengths": ([(1, 0.0, b"", "", "2024-01-01"), (1,)], ""),
    "a bad row in an iterator": (iter([(1, 0.0, b"", "", "2024-01-01"), "x"]), ""),
}


@pytest.mark.parametrize("wrong", WRONG_ROWS)
def test_wrong_rows_are_not_appended(unchanged: Path, wrong: str) -> None:
    rows, word = WRONG_ROWS[wrong]
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
        with pytest.raises((kist.DTypeError, kist.ShapeError), match=word or None):
            table.append(rows)
        assert len(table) == len(ROWS)


def test_a_value_that_does_not_fit_is_named_by_row_and_column(unchanged: Path) -> None:
    rows = np.zeros(100, [("a", "i8"), *ROWS.dtype.descr[1:]])
    rows["a"][73] = 2**40
    with kist.open(unchanged, "r+") as store:
        with pytest.raises(kist.DTypeError, match="73") as caught:
            store["t"].append(rows)
        assert caught.value.column == "a"
        assert caught.value.row == 73
        assert str(2**40) in str(caught.value)


def test_a_step_that_fails_leaves_the_rest_of_its_transaction(whole: Path) -> None:
    with kist.open(whole, "r+") as store:
        with store.transaction():
            store["t"].append(ROWS[:1])
            with pytest.raises(kist.DTypeError):
                store["t"].append([(1, 0.0, b"12345", "", "2024-01-01")])
            store.attrs["n"] = 2
        assert len(store["t"]) == len(ROWS) + 1
        assert store.attrs["n"] == 2


WRONG_ASSIGNMENTS: dict[str, tuple[Any, Any]] = {
    "another number of rows": (slice(0, 3), ROWS[:2]),
    "rows for one row": (0, ROWS[:2]),
    "other fields": (0, np.zeros((), [("x", "i4")])),
    "text that would be cut": ("c", [b"12345"] * len(ROWS)),
    "a column of another length": ("a", np.arange(3)),
    "a value that overflows": ("a", 2**31),
    "nan for an integer": ("a", np.nan),
    "text for numbers": ("b", "text"),
    "a value where there is a row": (0, 7),
}


@pytest.mark.parametrize("wrong", WRONG_ASSIGNMENTS)
def test_wrong_values_are_not_assigned(unchanged: Path, wrong: str) -> None:
    index, values = WRONG_ASSIGNMENTS[wrong]
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
        with pytest.raises((kist.DTypeError, kist.ShapeError)):
            table[index] = values
        assert table[:].tobytes() == ROWS.tobytes()


WRONG_DTYPES = {
    "objects": [("a", "O")],
    "no fields": "f8",
    "no dtype": "nonsense",
    "empty": [],
}


@pytest.mark.parametrize("wrong", WRONG_DTYPES)
def test_a_table_of_a_wrong_dtype_is_not_made(unchanged: Path, wrong: str) -> None:
    with kist.open(unchanged, "r+") as store:
        with pytest.raises(kist.DTypeError):
            store.create_table("new", dtype=WRONG_DTYPES[wrong])
        assert "new" not in store


def test_an_unknown_codec_is_refused_and_the_known_ones_are_listed(unchanged: Path) -> None:
    with kist.open(unchanged, "r+") as store:
        for codec in ("gzip", {"a": "gzip"}):
            with pytest.raises(kist.CodecError, match="zstd"):
                store.create_table("new", ROWS, codec=codec)
        with pytest.raises(kist.ColumnNotFoundError, match="nope"):
            store.create_table("new", ROWS, codec={"nope": "zstd"})
        assert "new" not in store


@pytest.mark.parametrize("data", [{"a": [1]}, None, [1, "a"], object()])
def test_what_is_no_data_is_not_put_under_a_name(unchanged: Path, data: Any) -> None:
    with kist.open(unchanged, "r+") as store:
        with pytest.raises(kist.DTypeError):
            store["new"] = data
        assert "new" not in store


# Indices

N = len(ROWS)
WRONG_INDICES: dict[str, Any] = {
    "behind the end": N,
    "before the start": -N - 1,
    "huge": 2**70,
    "in a list": [0, N],
    "in an array": np.array([0, -N - 1]),
    "a float": 1.0,
    "a list of floats": [0.5, 1.0],
    "text in bytes": b"a",
    "none": None,
    "true": True,
    "a short mask": np.ones(N - 1, bool),
    "a long mask": np.ones(N + 1, bool),
    "a mask of two dimensions": np.ones((N, 2), bool),
    "two axes": (0, 0),
    "a slice of text": slice("a", "b"),
    "a step of zero": slice(0, 5, 0),
    "an object": object(),
    "a ragged list": [[1], [2, 3]],
    "a date": np.datetime64("2024-01-01"),
}


@pytest.mark.parametrize("wrong", WRONG_INDICES)
def test_a_nonsense_index_raises_whatever_is_done_with_it(unchanged: Path, wrong: str) -> None:
    index = WRONG_INDICES[wrong]
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
        uses: list[Callable[[], object]] = [
            lambda: table[index],
            lambda: table[["a", "b"]][index],
            lambda: table.where("a > 0")[index],
            lambda: table.__setitem__(index, ROWS[0]),
            lambda: table["a"].__setitem__(index, 1),
            lambda: table.delete(index),
        ]
        if wrong != "two axes":
            uses.append(lambda: table["a"][index])
        for use in uses:
            with pytest.raises(kist.SelectionError) as caught:
                use()
            assert isinstance(caught.value, IndexError)
            assert "/t" in str(caught.value)
        assert table[:].tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("name", ["nope", "", "a.b", "A"])
def test_an_unknown_column_is_named_with_those_that_are_there(unchanged: Path, name: str) -> None:
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
        for use in (
            lambda: table[name],
            lambda: table[["a", name]],
            lambda: table.where("a > 0")[name],
            lambda: table.__setitem__(name, 1),
            lambda: table.where("a > 0").update({name: 1}),
        ):
            with pytest.raises(kist.ColumnNotFoundError) as caught:
                use()
            assert isinstance(caught.value, KeyError)
            assert repr(name.split(".")[-1])[1:-1] in str(caught.value)


# Conditions

WRONG_CONDITIONS: dict[str, tuple[str, str]] = {
    "an unknown name": ("nope > 1", "nope"),
    "an unknown function": ("system(a) > 1", "system"),
    "a builtin": ("__import__('os')", "__import__"),
    "an attribute": ("a.__class__ == 1", "a.__class__"),
    "half of it": ("a >", ""),
    "nothing": ("", ""),
    "a lambda": ("(lambda: a)()", ""),
    "an index": ("a[0] > 1", ""),
    "two statements": ("a > 1; b > 1", ""),
    "an assignment": ("a = 1", ""),
    "no condition": ("a + 1", ""),
    "text against a number": ("a == 'one'", ""),
    "a parameter that is missing": ("a > limit", "limit"),
    "deep": ("(" * 5000 + "a > 1" + ")" * 5000, ""),
}


@pytest.mark.parametrize("wrong", WRONG_CONDITIONS)
def test_a_wrong_condition_is_refused_and_pointed_at(unchanged: Path, wrong: str) -> None:
    text, culprit = WRONG_CONDITIONS[wrong]
    with kist.open(unchanged, "r+") as store:
        table = store["t"]
        for use in (
            lambda: table.where(text),
            lambda: table.where(text).count(),
            lambda: table.where(text).delete(),
        ):
            with pytest.raises(kist.QueryError, match=culprit or None) as caught:
                use()
            assert isinstance(caught.value, ValueError)
            if culprit:
                assert caught.value.text == text
                assert caught.value.span is not None
                start, stop = caught.value.span
                assert culprit in text[start:stop]
        assert len(table) == N


# Names of nodes

BAD_NAMES = ["", ".", "..", "a//b", "a/", "/", "a/./b", "../a", "x\0y", "n" * 256, "ü" * 128]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(unchanged: Path, name: str) -> None:
    with kist.open(unchanged, "r+") as store:
        for use in (
            lambda: store.create_group(name),
            lambda: store.create_table(name, ROWS),
            lambda: store.__setitem__(name, ROWS),
            lambda: store.move("t", name),
            lambda: store.copy("t", name),
        ):
            with pytest.raises((kist.NodeNameError, kist.NodeExistsError)) as caught:
                use()
            assert isinstance(caught.value, kist.NodeNameError) == (name != "/")


@pytest.mark.parametrize("name", [7, None, b"t", ("t",), ROWS])
def test_what_is_no_name_is_refused(unchanged: Path, name: Any) -> None:
    with kist.open(unchanged, "r+") as store:
        for use in (
            lambda: store[name],
            lambda: store.create_group(name),
            lambda: store.__setitem__(name, ROWS),
            lambda: store.__delitem__(name),
        ):
            with pytest.raises((kist.NodeNameError, TypeError)):
                use()


@pytest.mark.parametrize("name", ["nope", "g/nope", "t/u", "g/u/v", "/nope"])
def test_a_node_that_is_not_there_is_not_found(unchanged: Path, name: str) -> None:
    with kist.open(unchanged, "r+") as store:
        for use in (
            lambda: store[name],
            lambda: store.open_table(name),
            lambda: store.__delitem__(name),
            lambda: store.move(name, "v"),
        ):
            with pytest.raises(kist.NodeNotFoundError, match=r"nope|t/u|g/u|'/t'") as caught:
                use()
            assert isinstance(caught.value, KeyError)


def test_what_is_there_is_not_made_again_nor_as_something_else(unchanged: Path) -> None:
    with kist.open(unchanged, "r+") as store:
        for use in (
            lambda: store.create_group("t"),
            lambda: store.create_table("t", ROWS),
            lambda: store.create_group("t/below"),
            lambda: store.__setitem__("g", ROWS),
            lambda: store.require_group("t"),
            lambda: store.require_table("g", dtype=ROWS.dtype),
            lambda: store.move("t", "g/u"),
            lambda: store.copy("t", "g"),
        ):
            with pytest.raises(kist.NodeExistsError):
                use()
        with pytest.raises(kist.DTypeError, match="f4"):
            store.require_table("t", dtype=[("a", "f4")])
        with pytest.raises(kist.NodeError):
            store.move("g", "g/inside")


@pytest.mark.parametrize("name", ["", "12", "t" * 300, 7])
def test_a_bad_tag_is_refused(unchanged: Path, name: Any) -> None:
    with kist.open(unchanged, "r+") as store, pytest.raises(kist.NodeNameError):
        store.tag(name)


@pytest.mark.parametrize("value", [object(), lambda: 1, {"deep": [open]}, np.array([object()])])
def test_an_attribute_that_would_need_pickle_is_refused(unchanged: Path, value: Any) -> None:
    with kist.open(unchanged, "r+") as store, pytest.raises(kist.DTypeError):
        store.attrs["x"] = value


@pytest.mark.parametrize("index", [range(10**9), range(0, 10**30, 3), range(-(10**12), 5)])
@pytest.mark.parametrize("place", ["t", "g/x"])
def test_a_range_beyond_all_axes_takes_no_memory(unchanged: Path, place: str, index: range) -> None:
    with (
        kist.open(unchanged) as store,
        pytest.raises(kist.SelectionError, match=r"positions|row .* is out of range"),
    ):
        store[place][index]


def test_names_of_columns_are_text(unchanged: Path) -> None:
    with kist.open(unchanged) as store:
        for call in (lambda: store["t"].to_pandas([1, 2]), lambda: store["t"][[object()]]):
            with pytest.raises(kist.SelectionError):
                call()
        with pytest.raises(kist.QueryError, match="does not say of which column"):
            store["t"].group_by("a").agg(np.arange(3))


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [
        (np.dtypes.StringDType(), [["a"], ["b", 3]]),
        ("u1", [[1], [2, 300]]),
        ("f4", [[1], [2, "x"]]),
    ],
)
def test_an_item_that_does_not_fit_is_named_once(tmp_path: Path, dtype: Any, bad: Any) -> None:
    with kist.open(tmp_path / "r.kist", "x") as store:
        t = store.create_table("t", dtype={"a": "i8", "r": kist.ragged(dtype)})
        with pytest.raises(kist.DTypeError) as caught:
            t.append({"a": [1, 2], "r": bad})
        text = str(caught.value)
        assert text.count("append to '/t'") == text.count("nothing was changed") == 1, text
        assert "column 'r'" in text
        assert len(t) == 0


def test_in_a_column_is_one_value(unchanged: Path) -> None:
    with kist.open(unchanged) as store:
        assert store["t"]["a"][0] in store["t"]["a"]
        with pytest.raises(kist.ShapeError, match="one value"):
            np.arange(7) in store["t"]["a"]  # noqa: B015


def test_a_path_with_a_zero_in_it_is_none(tmp_path: Path) -> None:
    for mode in ("r", "a", "x"):
        with pytest.raises(kist.StorageError, match="no path"):
            kist.open(f"{tmp_path}/a\0b.kist", mode)
        with pytest.raises(kist.StorageError, match="no path"):
            kist.open(f"{tmp_path}/\ud800.kist", mode)


# Writers

HOLD = """
import kist, os, signal, sys
store = kist.open(sys.argv[1], "r+")
store.begin()
store["t"].append(store["t"][:5])
print("begun", flush=True)
sys.stdin.read()
"""


def test_two_writers_and_one_that_died_with_the_lock(whole: Path) -> None:
    before = whole.read_bytes()
    command = [sys.executable, "-c", HOLD, str(whole)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "begun\n"
        with kist.open(whole, "r+", timeout=0.02) as store:
            for change in (lambda: store.begin(), lambda: store["t"].append(ROWS)):
                with pytest.raises(kist.StoreLockedError, match=f"{holder.pid}"):
                    change()
            assert len(store["t"]) == N
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            assert whole.read_bytes()[:0x44000] == before[:0x44000], "nothing was committed"
            assert store["t"].append(ROWS[:1]) == 1
            assert store.check().ok
    with kist.open(whole) as store:
        assert len(store["t"]) == N + 1
