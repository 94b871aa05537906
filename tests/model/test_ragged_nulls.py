"""Ragged columns whose cells may be null, against plain lists with None."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kist
from kist import Ragged, nullable, ragged
from kist._kernels.cells import Cells
from kist.codecs.raggedpages import open_cells, pack_cells
from kist.errors import CorruptDataError, DTypeError, ShapeError, UnsupportedVersionError
from kist.format.columns import NULLABLE, RAGGED, ColumnSpec, pack_column, unpack_column
from kist.format.cursor import Cursor
from kist.model.comparing import compare

HITS = nullable(ragged("i4"))
CELL = st.none() | st.lists(st.integers(-5, 5), max_size=4)

Cell = list[int] | None


def made(store: kist.Store, cells: list[Cell], dtype: Any = HITS) -> Any:
    table = store.create_table("t", dtype={"id": "i4", "r": dtype})
    table.append({"id": np.arange(len(cells)), "r": Ragged.from_list(cells, dtype)})
    return table


STEP = st.one_of(
    st.tuples(st.just("append"), st.lists(CELL, max_size=5)),
    st.tuples(st.just("row"), CELL),
    st.tuples(st.just("assign"), st.integers(0, 40), CELL),
    st.tuples(st.just("update"), st.integers(2, 5), CELL),
    st.tuples(st.just("nulls"), CELL),
    st.tuples(st.just("delete"), st.integers(2, 5)),
    st.tuples(st.just("loop"), st.integers(1, 5), CELL),
    st.tuples(st.just("cast"), st.sampled_from(["i8", "i4", "i2"])),
    st.tuples(st.just("reopen")),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CELL, max_size=30), st.lists(STEP, max_size=8))
def test_programs_agree_with_a_list(
    tmp_path_factory: Any, first: list[Cell], steps: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("nulls") / "a.kist"
    store = kist.open(path, "x")
    table = made(store, first)
    model: list[list[Any]] = [[i, cell] for i, cell in enumerate(first)]
    for name, *args in steps:
        if name == "append":
            cells = args[0]
            ids = list(range(len(model), len(model) + len(cells)))
            if cells:
                table.append({"id": ids, "r": Ragged.from_list(cells, table["r"].dtype)})
            model += [[i, cell] for i, cell in zip(ids, cells, strict=True)]
        elif name == "row":
            table.append((99, args[0]))
            model.append([99, args[0]])
        elif name == "assign" and model:
            table["r"][args[0] % len(model)] = args[1]
            model[args[0] % len(model)][1] = args[1]
        elif name == "update":
            table.where("id % k == 0", k=args[0]).update({"r": args[1]})
            for row in model:
                row[1] = args[1] if row[0] % args[0] == 0 else row[1]
        elif name == "nulls":
            table.where("isnull(r)").update({"r": args[0]})
            for row in model:
                row[1] = args[0] if row[1] is None else row[1]
        elif name == "delete":
            table.where("id % k == 1", k=args[0]).delete()
            model = [row for row in model if row[0] % args[0] != 1]
        elif name == "loop":
            for row in table.where("len(r) < k", k=args[0]):
                row["r"] = args[1]
                row.update()
            for other in model:
                if other[1] is not None and len(other[1]) < args[0]:
                    other[1] = args[1]
        elif name == "cast":
            table.cast_column("r", nullable(ragged(args[0])))
        elif name == "reopen":
            store.close()
            store = kist.open(path, "r+")
            table = store["t"]
        agrees(table, model)
    store.close()
    with kist.open(path) as again:
        agrees(again["t"], model)
        assert again.check().ok


def agrees(table: Any, model: list[list[Any]]) -> None:
    cells = [cell for _, cell in model]
    found = table["r"][:]
    assert found.to_list() == cells
    assert found.mask.tolist() == [cell is None for cell in cells]
    assert found.lengths.tolist() == [len(cell or ()) for cell in cells]
    rows = [row["r"] for row in table[:]] if len(table) else []
    assert [None if cell is None else cell.tolist() for cell in rows] == cells
    assert table["r"].count() == sum(cell is not None for cell in cells)
    null = [i for i, cell in enumerate(cells) if cell is None]
    assert table.where("isnull(r)").indices().tolist() == null
    assert table.where("notnull(r)")["r"].count() == len(cells) - len(null)
    short = [i for i, cell in enumerate(cells) if cell is not None and len(cell) < 2]
    assert table.where("len(r) < 2").indices().tolist() == short
    long = [i for i, cell in enumerate(cells) if cell is not None and len(cell) >= 2]
    assert table.where("~(len(r) < 2)").indices().tolist() == long
    order = sorted(range(len(cells)), key=lambda i: (cells[i] is None, len(cells[i] or ()), i))
    assert table.sort_by(kist.expr("len(r)"))["r"][:].to_list() == [cells[i] for i in order]


@pytest.mark.parametrize("n", [1, 15, 16, 9_000])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_blocks_keep_nulls(n: int, share: float) -> None:
    rng = np.random.default_rng(n)
    missing = rng.random(n) < share
    lengths = np.where(missing, 0, rng.integers(0, 4, n))
    cells = Cells.of(lengths, np.arange(lengths.sum(), dtype="i4"), HITS, missing)
    again, items, gone = open_cells(pack_cells(cells), n, HITS)
    assert gone is not None and (gone == missing).all()
    assert (again == lengths).all() and (items == np.arange(lengths.sum())).all()


def test_cells_keep_nulls_wherever_they_are_taken() -> None:
    cells = Ragged.from_list([[1], None, [], [2, 3], None], HITS)._cells()
    assert cells[::-1].cells()[0] is None and cells[1] is None
    assert [c is None for c in np.concatenate([cells[3:], cells[:2]]).cells()] == [
        False, True, False, True,
    ]  # fmt: skip
    other = Cells.empty(5, HITS)
    other[1:4] = cells[:3]
    assert [None if c is None else c.tolist() for c in other.owned().cells()] == [
        [], [1], None, [], [],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="cannot be missing"):
        Cells.empty(5, ragged("i4"))[:] = cells


def test_pages_pieces_and_patches_keep_nulls(path: Path) -> None:
    n = 150_000
    rng = np.random.default_rng(5)
    missing = rng.random(n) < 0.1
    lengths = np.where(missing, 0, rng.integers(0, 4, n))
    r = Ragged(np.arange(lengths.sum(), dtype="i4"), np.append(0, lengths.cumsum()), missing)
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype={"id": "i4", "r": HITS})
        table.append({"id": np.arange(n), "r": r})
        table.append((n, None))
        table["r"][70_000:70_002] = [None, [7]]
        assert table["r"][70_000:70_002].to_list() == [None, [7]]
        assert table["r"][n] is None and table.where("isnull(r)").count() > missing.sum()
    with kist.open(path) as store:
        found = store["t"]["r"][:]
        assert found[:70_000].equals(r[:70_000]) and found[70_002:n].equals(r[70_002:])
        some = np.sort(rng.choice(70_000, 500, replace=False))
        assert store["t"]["r"][some].equals(r[some])


def test_sorting_beyond_memory_keeps_nulls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kist.options, "max_memory", 1 << 20)
    rng = np.random.default_rng(8)
    cells: list[Cell] = [
        None if i % 9 == 4 else [i] * int(n) for i, n in enumerate(rng.integers(0, 3, 40_000))
    ]
    with kist.open(":memory:") as store:
        table = made(store, cells)
        found = table.sort_by("id", descending=True)["r"][:]
        assert found.to_list() == cells[::-1]
        ids = table.sort_by(kist.expr("len(r)"))["id"][:]
        assert all(cells[i] is None for i in ids[-(len(range(4, 40_000, 9))) :].tolist())


def test_nulls_come_without_a_dtype() -> None:
    with kist.open(":memory:") as store:
        uneven = store.create_table("uneven", {"r": [[1, 2], None, [3]]})
        even = store.create_table("even", {"r": [[1, 2], None]})
        raw = store.create_table("raw", {"r": [b"x\0", None]})
        masked = store.create_table(
            "masked",
            dtype={"r": HITS},
        )
        masked.append(
            {"r": np.ma.MaskedArray(Ragged.from_list([[1], []])._cells().objects(), [1, 0])}
        )
        assert uneven["r"].dtype == even["r"].dtype == nullable(ragged("i8"))
        assert even["r"][:].to_list() == [[1, 2], None]
        assert raw["r"].dtype == nullable(ragged(bytes)) and raw["r"][:].to_list() == [b"x\0", None]
        assert masked["r"][:].to_list() == [None, []]


def test_a_column_without_nulls_refuses_them_by_row() -> None:
    with kist.open(":memory:") as store:
        table = made(store, [[1], []], ragged("i4"))
        for give in (
            [(2, None)],
            {"id": [2], "r": [None]},
            {"id": [2], "r": Ragged([], [0, 0], [True])},
        ):
            with pytest.raises(DTypeError, match=r"row 0, .*a null, which only kist.nullable"):
                table.append(give)
        table.cast_column("r", HITS)
        table["r"][1] = None
        with pytest.raises(DTypeError, match=r"row 1, .*a null"):
            table.cast_column("r", ragged("i4"))
        assert table["r"][:].to_list() == [[1], None]
        table.cast_column("r", ragged("i4"), unsafe=True)
        assert table["r"][:].to_list() == [[1], []]


def test_columns_with_nulls_come_and_go(path: Path) -> None:
    with kist.open(path, "x") as store:
        table = made(store, [[1], None])
        table.add_column("later", dtype=HITS, fill_value=None)
        table.add_column("given", [None, [5]], HITS)
        table.append({"id": 2, "r": [], "given": None})
        table.drop_column("r")
    with kist.open(path) as store:
        assert store["t"]["later"][:].to_list() == [None, None, None]
        assert store["t"]["given"][:].to_list() == [None, [5], None]
        assert store["t"][2]["given"] is None and next(iter(store["t"]))["later"] is None


def test_a_mask_is_of_empty_cells() -> None:
    with pytest.raises(ShapeError, match="mask of shape"):
        Ragged(np.arange(3), [0, 1, 3], [True])
    with pytest.raises(ShapeError, match="have no items"):
        Ragged(np.arange(3), [0, 1, 3], [True, False])
    r = Ragged(np.arange(3), [0, 1, 1, 3], [False, True, False])
    assert r[1] is None and r[-2:].mask.tolist() == [True, False]
    assert list(r)[1] is None and not r.equals(Ragged(np.arange(3), [0, 1, 1, 3]))
    assert np.asarray(r)[1] is None and repr(r) == "Ragged([[0], null, [1, 2]], int64)"


def test_flags_and_dtype_say_the_same() -> None:
    column = ColumnSpec(1, "r", HITS)
    packed = pack_column(column)
    assert unpack_column(Cursor(packed, "schema"), 1) == column
    assert packed[8:12] == bytes([NULLABLE | RAGGED, 0, 0, 0])
    for flags, error in ((RAGGED, CorruptDataError), (NULLABLE, UnsupportedVersionError)):
        with pytest.raises(error):
            unpack_column(Cursor(packed[:8] + bytes([flags, 0, 0, 0]) + packed[12:], "schema"), 1)
    plain = pack_column(ColumnSpec(1, "r", ragged("i4")))
    with pytest.raises(CorruptDataError):
        unpack_column(Cursor(plain[:8] + bytes([5, 0, 0, 0]) + plain[12:], "schema"), 1)


def test_frames_keep_nulls() -> None:
    pa = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    lists = pa.array([[1, 2], None, [], [3]], pa.list_(pa.int32()))
    raw = pa.array([b"a\0", None, b"", b"c"])
    # Items under a null are nobody's.
    under = pa.ListArray.from_arrays(
        pa.array([0, 2, 3, 3, 4], pa.int32()), pa.array([1, 2, 9, 3], pa.int32()),
        mask=pa.array([False, True, False, False]),
    )  # fmt: skip
    with kist.open(":memory:") as store:
        store["a"] = pa.table({"l": lists, "b": raw, "u": under})
        table = store["a"]
        for name, wanted in (("l", lists), ("b", raw), ("u", lists)):
            assert table[name][:].to_list() == wanted.to_pylist()
            assert table.to_arrow()[name].to_pylist() == wanted.to_pylist()
            assert table[name][:].to_arrow().to_pylist() == wanted.to_pylist()
        table.append(pa.table({"l": lists[1:2], "b": raw[1:2], "u": under[1:2]}))
        assert table["l"][-1] is table["b"][-1] is table["u"][-1] is None
        frame = pandas.DataFrame({"l": [[1, 2], None, [3]], "b": [b"a\0", None, b"c"]})
        store["p"] = frame
        assert store["p"].to_pandas()["b"].tolist() == frame["b"].tolist()
        assert store["p"].to_pandas()["l"][1] is None
        kept = pandas.DataFrame({"l": pandas.Series(lists, dtype=pandas.ArrowDtype(lists.type))})
        store["k"] = kept
        assert store["k"].to_pandas()["l"].isna().tolist() == [False, True, False, False]


def test_frames_of_polars_keep_nulls() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"l": [[1, 2], None, []], "b": [b"a", None, b""]})
    with kist.open(":memory:") as store:
        store["a"] = frame
        assert store["a"].to_polars().to_dict(as_series=False) == frame.to_dict(as_series=False)


def test_a_difference_names_the_null(tmp_path: Path) -> None:
    cells: dict[str, list[Cell]] = {"a": [[1, 2], None], "b": [[1, 2], []], "c": [[1, 2], None]}
    for name, some in cells.items():
        with kist.open(tmp_path / f"{name}.kist", "x") as store:
            made(store, some)
    with (
        kist.open(tmp_path / "a.kist") as a,
        kist.open(tmp_path / "b.kist") as b,
        kist.open(tmp_path / "c.kist") as c,
    ):
        assert not list(compare(a["t"], c["t"]))
        (found,) = compare(a["t"], b["t"])
        assert "'r': 1 rows differ, the first in row 1" in str(found)


def test_cells_are_compared_though_the_first_are_null(tmp_path: Path) -> None:
    for name, last in (("a", [3]), ("b", [4])):
        with kist.open(tmp_path / f"{name}.kist", "x") as store:
            made(store, [None, [1, 2], last])
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        (found,) = compare(a["t"], b["t"])
        assert "'r': 1 rows differ, the first in row 2" in str(found)


def test_what_is_computed_of_nothing_is_null() -> None:
    times = np.array(["2020-01-01", "NaT", "2021-01-01", "NaT"], "M8[D]")
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"g": [1, 1, 2, 3], "d": times})
        year = kist.expr("year(d)")
        found = table.group_by("g").agg(s=(year, "sum"), n=(year, "count"), m=(year, "max"))
        assert found["s"].tolist() == [2020, 2021, 0] and found["n"].tolist() == [1, 1, 0]
        assert found["m"]["valid"].tolist() == [True, True, False]
        assert found["m"]["value"].tolist()[:2] == [2020, 2021]
        keys = table.group_by(year).count()
        assert keys["year(d)"].tolist() == [(2020, True), (2021, True), (0, False)]
        assert keys["count"].tolist() == [1, 1, 2]
        there = table.where("~isnan(d)").group_by(year).agg({"g": "max"})
        assert there.dtype["year(d)"] == np.int64 and there["g"].tolist() == [1, 2]
        assert table.sort_by(year, descending=True)["g"][:].tolist() == [2, 1, 1, 3]


def test_the_first_null_is_named_where_there_may_be_none() -> None:
    with kist.open(":memory:") as store:
        store.create_table("t", dtype={"r": ragged("i4")})
        with pytest.raises(kist.DTypeError, match="row 1") as told:
            store["t"].append({"r": [[1], None, [2], None]})
        assert told.value.row == 1
