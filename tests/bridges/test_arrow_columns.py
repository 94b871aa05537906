"""Lists, bytes, categories and nested values of Arrow: what they are in a table, and back."""

from __future__ import annotations

import datetime
import decimal
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import DTypeError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")

SUFFIXES = ["parquet", "feather"]


def codes(report: Any) -> list[str]:
    return sorted(note.code for note in report.notes)


def write(table: Any, path: Path, rows: int = 3) -> None:
    """Write a table in parts of a few rows."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        feather.write_feather(table, path, chunksize=rows, compression="uncompressed")


def read(path: Path) -> Any:
    return pq.read_table(path) if path.suffix == ".parquet" else feather.read_table(path)


def there_and_back(table: Any, folder: Path, suffix: str) -> tuple[Any, Any, Any]:
    """Return the report of the way in, what stood in the file, and what stands in it again."""
    file = folder / f"t.{suffix}"
    write(table, file)
    before = read(file)
    report = kist.convert(file, folder / "a.kist")
    assert kist.convert(f"{folder / 'a.kist'}:t", folder / f"back.{suffix}").ok
    return report, before, read(folder / f"back.{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lists_and_bytes_are_ragged_columns_and_come_back(tmp_path: Path, suffix: str) -> None:
    table = pa.table(
        {
            "bytes": [b"x\0", b"", b"a longer one"] * 4,
            "large": pa.array([b"x", b"", b"yy"] * 4, pa.large_binary()),
            "ints": pa.array([[1, 2], [], [3]] * 4, pa.list_(pa.int16())),
            "times": pa.array([[1, 2], [], [3]] * 4, pa.list_(pa.timestamp("ms"))),
            "pairs": pa.array(
                [[[1.0, 2.0]], [], [[3, 4]]] * 4, pa.list_(pa.list_(pa.float32(), 2))
            ),
            "structs": [[{"a": 1, "b": 0.5}], [], [{"a": 2, "b": 1.5}]] * 4,
        }
    )
    report, before, back = there_and_back(table, tmp_path, suffix)
    assert report.ok
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["bytes"].dtype == kist.ragged(bytes) and t["bytes"][0] == b"x\0"
        assert t["ints"].dtype == kist.ragged("i2") and t["pairs"].dtype == kist.ragged("f4", 2)
        assert t.where("len(ints) > 1")["ints"][:].to_list() == [[1, 2]] * 4
    for name in table.column_names:
        assert back[name].to_pylist() == before[name].to_pylist(), name
        kind = before.schema.field(name).type
        assert str(back.schema.field(name).type).replace("large_", "") == str(kind).replace(
            "large_", ""
        ), name
    assert back.schema.field("ints").type.id == pa.list_(pa.int16()).id
    assert back.schema.field("bytes").type == pa.binary()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lists_of_text_are_columns_and_come_back(tmp_path: Path, suffix: str) -> None:
    cells = [["a", None], ["b" * 40], [], None, ["", "é"], []]
    columns = {
        "plain": pa.array(cells, pa.list_(pa.string())),
        "large": pa.array(cells, pa.large_list(pa.large_string())),
        "whole": pa.array([cell or [] for cell in cells], pa.list_(pa.string())),
    }
    if suffix != "parquet":  # of which pyarrow does not read these in parts
        columns["coded"] = pa.array(cells, pa.list_(pa.dictionary(pa.int32(), pa.string())))
    report, before, back = there_and_back(pa.table(columns), tmp_path, suffix)
    assert codes(report) == ["arrow.categories"] * ("coded" in columns)
    texts = kist.ragged(np.dtypes.StringDType(na_object=None))
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["plain"].dtype == t["large"].dtype == kist.nullable(texts)
        assert t["whole"].dtype == texts and t["large"][:].to_list() == cells
        assert t.where("len(plain) > 1").indices().tolist() == [0, 4]
    assert back.to_pydict() == before.to_pydict() and back.schema.equals(before.schema)
    with kist.open(tmp_path / "own.kist", "x") as store:
        store.create_table("t", {"r": cells[:3]}, dtype={"r": texts})
    assert kist.convert(tmp_path / "own.kist", tmp_path / f"own.{suffix}").ok
    found = read(tmp_path / f"own.{suffix}")
    assert found.schema.field("r").type.value_type == pa.string()
    assert pa.types.is_list(found.schema.field("r").type) and found["r"].to_pylist() == cells[:3]


def test_lists_of_text_in_json_lines_are_columns(tmp_path: Path) -> None:
    lines = ['{"a": ["x", "y"]}', '{"a": []}', '{"a": null}', '{"a": ["z", null]}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    assert kist.convert(tmp_path / "t.jsonl", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["a"][:].to_list() == [["x", "y"], [], None, ["z", None]]
    assert kist.convert(tmp_path / "a.kist", tmp_path / "back.jsonl").ok
    assert (tmp_path / "back.jsonl").read_text().splitlines() == lines


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_null_list_is_null_in_the_table_and_again(tmp_path: Path, suffix: str) -> None:
    # Behind the first part, which does not tell that there are nulls.
    table = pa.table(
        {
            "ints": [[1], [], [2], [3], [], None],
            "bytes": [b"x", b"", b"x", None, b"", b"x"],
            "ints_valid": [1, 2, 3, 4, 5, 6],
        }
    )
    report, before, back = there_and_back(table, tmp_path, suffix)
    assert codes(report) == []
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["ints"][:].to_list() == [[1], [], [2], [3], [], None]
        assert t["bytes"][:].to_list() == [b"x", b"", b"x", None, b"", b"x"]
        assert t.columns == ("ints", "bytes", "ints_valid")
    assert back.to_pydict() == before.to_pydict() and back.schema.equals(before.schema)
    assert kist.convert(tmp_path / f"t.{suffix}", tmp_path / "strict.kist", strict=True).ok


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_no_column_can_hold_is_json_and_what_it_was_again(tmp_path: Path, suffix: str) -> None:
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5, 678)
    deep = {
        "at": moment, "cost": decimal.Decimal("1.50"), "raw": b"\xff\0",
        "steps": [datetime.timedelta(seconds=1.5)], "day": moment.date(), "clock": moment.time(),
    }  # fmt: skip
    table = pa.table(
        {
            "inner": [[1, None], None, []] * 2,
            "lists": [[[1]], [], [[2, 3], []]] * 2,
            "deep": [deep, None, None] * 2,
            "zoned": pa.array(
                [[[1]], [[2]], []] * 2, pa.list_(pa.list_(pa.timestamp("us", "UTC")))
            ),
            "map": pa.array([[("k", 1)], [], None] * 2, pa.map_(pa.string(), pa.int32())),
        }
    )
    report, before, back = there_and_back(table, tmp_path, suffix)
    assert [(note.code, note.count) for note in report.notes] == [("arrow.nested", 5)]
    assert back.to_pydict() == before.to_pydict() and back.schema.equals(before.schema)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_dictionaries_are_categories_and_come_back(tmp_path: Path, suffix: str) -> None:
    sizes = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, None] * 2, pa.int8()), ["small", "large", "unused"], ordered=True
    )
    days = [datetime.date(2020, 1, 1), datetime.date(2019, 1, 1), None] * 2
    table = pa.table(
        {
            "kinds": pa.array(["x", None, "y"] * 2).dictionary_encode(),
            "sizes": sizes,
            "days": pa.array(days).dictionary_encode(),
            "ints": pa.array([5, None, 7] * 2).dictionary_encode(),
        }
    )
    report, before, back = there_and_back(table, tmp_path, suffix)
    assert report.ok
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["kinds"].categories.tolist() == ["x", "y"]
        assert t["kinds"].codes[:].tolist() == [0, -1, 1] * 2
        assert t["sizes"].categories.tolist() == ["small", "large", "unused"]
        assert t.where("sizes > 'small'")["sizes"][:].tolist() == ["large"] * 2
        assert t["days"][0] == np.datetime64("2020-01-01")
    assert back.to_pydict() == before.to_pydict()
    assert pa.types.is_dictionary(back.schema.field("kinds").type)
    assert back.schema.field("sizes").type.ordered
    assert back["sizes"].combine_chunks().dictionary.to_pylist() == ["small", "large", "unused"]


def parts(path: Path, *columns: Any) -> None:
    """Write a stream of one dictionary column in several parts."""
    batches = [pa.record_batch([column], names=["c"]) for column in columns]
    with pa.ipc.new_stream(path, batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)


def coded(listed: list[Any], ordered: bool = False) -> Any:
    places = pa.array([*range(len(listed)), None], pa.int32())
    return pa.DictionaryArray.from_arrays(places, pa.array(listed), ordered=ordered)


def test_categories_of_later_parts_are_added_and_keep_their_order(tmp_path: Path) -> None:
    parts(tmp_path / "plain.arrows", coded(["b", "a"]), coded(["c", "b"]))
    parts(
        tmp_path / "good.arrows", coded(["low", "high"], True), coded(["low", "high", "top"], True)
    )
    parts(tmp_path / "bad.arrows", coded(["low", "high"], True), coded(["high", "low"], True))
    for name in ("plain", "good"):
        assert kist.convert(tmp_path / f"{name}.arrows", tmp_path / f"{name}.kist").ok
    report = kist.convert(tmp_path / "bad.arrows", tmp_path / "bad.kist")
    assert codes(report) == ["arrow.order"]
    expected = {"plain": ["b", "a", "c"], "good": ["low", "high", "top"], "bad": ["low", "high"]}
    for name, listed in expected.items():
        with kist.open(tmp_path / f"{name}.kist") as store:
            column = store[name]["c"]
            assert column.categories.tolist() == listed
            assert store[name].to_arrow().schema.field("c").type.ordered is (name == "good")
            assert column[:].tolist()[-1] is None
            assert len(column) == (7 if name == "good" else 6)


@pytest.mark.parametrize(
    ("listed", "also"),
    [([b"x"], []), ([1.5, float("nan")], []), ([["a"]], []), ([[["a"]]], ["arrow.nested"])],
)
def test_categories_that_cannot_be_are_their_values(
    tmp_path: Path, listed: list[Any], also: list[str]
) -> None:
    parts(tmp_path / "t.arrows", coded(listed))
    report = kist.convert(tmp_path / "t.arrows", tmp_path / "a.kist")
    assert codes(report) == ["arrow.categories", *also]
    with kist.open(tmp_path / "a.kist") as store, pytest.raises(DTypeError):
        store["t"]["c"].categories  # noqa: B018


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_enumerations_of_the_store_come_back_as_such(tmp_path: Path, suffix: str) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        columns = {"e": kist.enum({"idle": 4, "busy": -1}), "f": kist.enum(["a", "b"])}
        store.create_table("t", dtype=columns).append([("idle", "b"), (None, None), ("busy", "a")])
    assert kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / f"t.{suffix}").ok
    assert kist.convert(tmp_path / f"t.{suffix}", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as store:
        assert store["t"]["e"].numbers == {"busy": -1, "idle": 4}
        assert store["t"]["f"].info["dtype"] == "enum str" and store["t"]["f"].numbers is None
        assert store["t"]["e"][:].tolist() == ["idle", None, "busy"]


def test_pandas_categoricals_in_feather_keep_order_and_unused_values(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    sizes = pd.Categorical(["b", None, "a"], ["b", "a", "never"], ordered=True)
    pd.DataFrame({"size": sizes, "n": [1, 2, 3]}).to_feather(tmp_path / "t.feather")
    assert kist.convert(tmp_path / "t.feather", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        assert (store["t"].to_pandas()["size"].array == sizes).tolist() == [True, False, True]
        assert store["t"].to_pandas()["size"].dtype == sizes.dtype
    kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "back.feather")
    assert pd.read_feather(tmp_path / "back.feather")["size"].dtype == sizes.dtype


def test_chosen_dtypes_are_those_of_the_table(tmp_path: Path) -> None:
    table = pa.table({"b": [b"x", b"yy"], "k": pa.array(["p", "q"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    kist.convert(tmp_path / "t.parquet", tmp_path / "a.kist", dtypes={"b": "S2"})
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["b"].dtype == "S2" and store["t"]["k"].categories.tolist() == ["p", "q"]
        assert store["t"].where("b == 'yy'")["k"][:].tolist() == ["q"]
    with pytest.raises(DTypeError):
        kist.convert(tmp_path / "t.parquet", tmp_path / "b.kist", dtypes={"b": "S1"})
    assert not (tmp_path / "b.kist").exists()


def test_any_mixture_comes_back(tmp_path: Path) -> None:
    rng = random.Random(0)
    makers = {
        "i": lambda: rng.randrange(100), "f": rng.random, "s": lambda: rng.choice("abc"),
        "b": lambda: rng.randbytes(rng.randrange(4)),
        "l": lambda: [rng.randrange(9) for _ in range(rng.randrange(3))],
        "t": lambda: [rng.choice("xy") for _ in range(rng.randrange(3))],
        "n": lambda: {"a": rng.randrange(9), "b": [rng.randrange(9)]},
    }  # fmt: skip
    for at in range(12):
        n = rng.choice([1, 7, 50])
        columns = {}
        for name, make in makers.items():
            nulls = rng.random() < 0.5
            values = [None if nulls and rng.random() < 0.3 else make() for _ in range(n)]
            array = pa.array(values)
            coded = name == "s" and rng.random() < 0.5
            columns[name] = array.dictionary_encode() if coded else array
        suffix = rng.choice(SUFFIXES)
        folder = tmp_path / str(at)
        folder.mkdir()
        _, before, back = there_and_back(pa.table(columns), folder, suffix)
        assert back.to_pydict() == before.to_pydict(), columns
