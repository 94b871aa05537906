"""Ragged columns whose items are text of any length, against plain lists."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_programs import small_groups

import kist
from kist import Ragged, nullable, ragged
from kist._kernels.cells import Cells
from kist.errors import CorruptDataError, DTypeError
from kist.format.columns import RAGGED, TEXT, ColumnSpec, pack_column, unpack_column
from kist.format.cursor import Cursor
from kist.format.ragged import item_text
from kist.model.comparing import compare

WORDS = np.dtypes.StringDType()
MAYBE = np.dtypes.StringDType(na_object=None)
PLAIN, ITEMS, CELLS = ragged(str), ragged(MAYBE), nullable(ragged(MAYBE))

Cell = list[str | None] | None

ITEM = st.sampled_from(["", "a", "b c", "é☃", "x" * 15, "y" * 16, "z" * 400, "\0"])
LIST = st.lists(st.none() | ITEM | st.text(max_size=20), max_size=4)
CELL = st.none() | LIST

STEP = st.one_of(
    st.tuples(st.just("append"), st.lists(CELL, max_size=40)),
    st.tuples(st.just("row"), CELL),
    st.tuples(st.just("assign"), st.integers(0, 90), CELL),
    st.tuples(st.just("update"), st.integers(2, 5), CELL),
    st.tuples(st.just("nulls"), CELL),
    st.tuples(st.just("delete"), st.integers(2, 5)),
    st.tuples(st.just("loop"), st.integers(1, 5), CELL),
    st.tuples(st.just("upsert"), st.lists(CELL, max_size=5)),
    st.tuples(st.just("insert"), st.integers(0, 90), CELL),
    st.tuples(st.just("column"), LIST),
    st.tuples(st.just("undo"), CELL),
    st.tuples(st.just("compact")),
    st.tuples(st.just("reopen")),
)


def made(store: kist.Store, cells: list[Cell], dtype: Any = CELLS) -> Any:
    table = store.create_table("t", dtype={"id": "i4", "r": dtype})
    table.append({"id": np.arange(len(cells)), "r": Ragged.from_list(cells, dtype)})
    return table


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CELL, max_size=80), st.lists(STEP, max_size=8), st.booleans())
def test_programs_agree_with_a_list(
    tmp_path_factory: Any, first: list[Cell], steps: list[Any], small: bool
) -> None:
    with small_groups() if small else contextlib.nullcontext():
        _run(tmp_path_factory.mktemp("texts") / "a.kist", first, steps)


def _run(path: Path, first: list[Cell], steps: list[Any]) -> None:
    store = kist.open(path, "x")
    table = made(store, first)
    model: list[list[Any]] = [[i, cell] for i, cell in enumerate(first)]
    extra: list[str | None] | None = None
    for name, *args in steps:
        if name == "append":
            ids = list(range(len(model), len(model) + len(args[0])))
            if args[0]:
                table.append({"id": ids, "r": Ragged.from_list(args[0], CELLS)})
            model += [[i, cell] for i, cell in zip(ids, args[0], strict=True)]
        elif name == "row":
            table.append({"id": [99], "r": [args[0]]})
            model.append([99, args[0]])
        elif name == "assign" and model:
            table["r"][args[0] % len(model)] = given_cell(args[1])
            model[args[0] % len(model)][1] = args[1]
        elif name == "update":
            table.where("id % k == 0", k=args[0]).update({"r": given_cell(args[1])})
            for row in model:
                row[1] = args[1] if row[0] % args[0] == 0 else row[1]
        elif name == "nulls":
            table.where("isnull(r)").update({"r": given_cell(args[0])})
            for row in model:
                row[1] = args[0] if row[1] is None else row[1]
        elif name == "delete":
            table.where("id % k == 1", k=args[0]).delete()
            model = [row for row in model if row[0] % args[0] != 1]
        elif name == "loop":
            for found in table.where("len(r) < k", k=args[0]):
                found["r"] = given_cell(args[1])
                found.update()
            for other in model:
                if other[1] is not None and len(other[1]) < args[0]:
                    other[1] = args[1]
        elif name == "upsert":
            known = {row[0] for row in model}
            if len(known) == len(model):
                table.upsert({"id": range(len(args[0])), "r": args[0]}, on="id")
                for i, cell in enumerate(args[0]):
                    if i in known:
                        next(row for row in model if row[0] == i)[1] = cell
                    else:
                        model.append([i, cell])
        elif name == "insert":
            at = args[0] % (len(model) + 1)
            table.insert(at, {"id": [7], "r": [args[1]]})
            model.insert(at, [7, args[1]])
        elif name == "column":
            if extra is not None:
                table.drop_column("more")
            table.add_column("more", ragged(MAYBE), fill_value=args[0])
            extra = args[0]
        elif name == "undo":
            with pytest.raises(KeyError), store.transaction():
                table["r"][:] = given_cell(args[0])
                raise KeyError
        elif name == "compact":
            store.compact()
        elif name == "reopen":
            store.close()
            store = kist.open(path, "r+")
            table = store["t"]
        agrees(table, model)
    if extra is not None:
        assert table.columns == ("id", "r", "more")
    store.close()
    with kist.open(path) as again:
        agrees(again["t"], model)
        assert again.check().ok


def given_cell(cell: Cell) -> Any:
    """A cell as an array: a list of nothing but None might be several nulls."""
    return None if cell is None else np.array(cell, MAYBE)


def agrees(table: Any, model: list[list[Any]]) -> None:
    cells = [cell for _, cell in model]
    found = table["r"][:]
    assert found.to_list() == cells
    assert found.mask.tolist() == [cell is None for cell in cells]
    assert found.lengths.tolist() == [len(cell or ()) for cell in cells]
    assert table["id"][:].tolist() == [row[0] for row in model]
    rows = [row["r"] for row in table[:]] if len(table) else []
    assert [None if cell is None else cell.tolist() for cell in rows] == cells
    some = list(range(0, len(cells), 3))[::-1]
    assert table["r"][some].to_list() == [cells[i] for i in some]
    null = [i for i, cell in enumerate(cells) if cell is None]
    assert table.where("isnull(r)").indices().tolist() == null
    short = [i for i, cell in enumerate(cells) if cell is not None and len(cell) < 2]
    assert table.where("len(r) < 2").indices().tolist() == short
    assert table.where("len(r) < 2")["r"][:].to_list() == [cells[i] for i in short]
    order = sorted(range(len(cells)), key=lambda i: (cells[i] is None, len(cells[i] or ()), i))
    assert table.sort_by(kist.expr("len(r)"))["r"][:].to_list() == [cells[i] for i in order]


def test_dtypes_are_named_and_equal_to_themselves() -> None:
    assert ragged(str) == ragged(WORDS) == ragged(np.dtypes.StringDType) != ragged(bytes)
    assert ragged(np.dtypes.StringDType(na_object=np.nan)) == ITEMS != PLAIN
    assert ragged(PLAIN) == PLAIN and nullable(nullable(PLAIN)) == nullable(PLAIN)
    assert [item_text(d) for d in (PLAIN, ITEMS, CELLS, nullable(PLAIN))] == [
        "ragged text", "ragged nullable text", "nullable ragged nullable text",
        "nullable ragged text",
    ]  # fmt: skip
    for wrong in ((str, 2), (WORDS, (1,)), (np.dtype((WORDS, (2,))), ())):
        with pytest.raises(DTypeError, match="no shape"):
            ragged(*wrong)
    with pytest.raises(DTypeError, match="missing ones are the text 'NA'"):
        ragged(np.dtypes.StringDType(na_object="NA"))
    with pytest.raises(DTypeError):
        nullable([("a", PLAIN)])
    with pytest.raises(DTypeError, match="can be a column"), kist.open(":memory:") as store:
        store.create_table("t", dtype=[("a", [("b", PLAIN)])])


def test_cells_come_however_they_are_given() -> None:
    texts = ["a", "b" * 20]
    ways: list[Any] = [
        texts, tuple(texts), np.array(texts), np.array(texts, object), np.array(texts, WORDS),
        np.array(texts, MAYBE), np.array(texts, np.dtypes.StringDType(na_object=np.nan)),
    ]  # fmt: skip
    with kist.open(":memory:") as store:
        table = made(store, [], PLAIN)
        for cell in ways:
            table.append([(0, cell)])
            table.append({"id": [1, 2], "r": [cell, []]})
            table["r"][0] = cell
        table.append({"id": [3] * len(ways), "r": ways})
        found = [cell for cell in table["r"][:].to_list() if cell]
        assert found == [texts] * (3 * len(ways)) and len(table) == 4 * len(ways)
        table.append({"id": [4, 5], "r": np.array([texts, texts])})
        assert table["r"][-2:].to_list() == [texts, texts]
        table.append({"id": 6, "r": texts})
        assert table["r"][-1].tolist() == texts and table["r"][-1].dtype == WORDS


def test_a_text_tells_a_cell_from_several() -> None:
    """Where texts and cells may be missing, None begins either; and where cells may not, a cell."""
    with kist.open(":memory:") as store:
        table = made(store, [[]] * 4, CELLS)
        table["r"][0] = [None, "a"]
        table["r"][1:3] = [None, ["b"]]
        table["r"][3:] = [[None]]
        assert table["r"][:].to_list() == [[None, "a"], None, ["b"], [None]]
        table.append({"id": 1, "r": [None, "c"]})
        table.append([(2, [None, "d"]), (3, None)])
        assert table["r"][4:].to_list() == [[None, "c"], [None, "d"], None]
        table["r"][:2] = [None, None]
        assert table["r"][:2].to_list() == [None, None]
        only = store.create_table("only", {"r": [["x"]]}, dtype={"r": ITEMS})
        only["r"][0] = [None, None]
        assert only["r"][:].to_list() == [[None, None]]


def test_what_is_no_list_of_text_is_refused_by_row() -> None:
    with kist.open(":memory:") as store:
        table = made(store, [["a"]], PLAIN)
        wrong: list[tuple[Any, str]] = [
            ([["a"], "b"], "row 1.*array of items"),
            ([["a"], ["b", 5]], "row 1.*item 1"),
            ([["a"], ["b"], ["c", None]], "row 2.*item 1"),
            ([["a"], np.array([1.5])], "row 1"),
            ([["a"], [b"b"]], "row 1"),
            ([["a"], [["b"]]], "row 1.*lists of lists"),
            ([["a"], np.array([["b"]])], "row 1.*lists of lists"),
            ([["a"], {"b": 1}], "row 1.*items of no shape"),
            ([["a"], {"b"}], "row 1.*items of no shape"),
            ([["a"], None], "row 1.*a null, which only"),
            ([["a"], np.array(["x", None], MAYBE)], "row 1.*item 1"),
        ]
        for cells, message in wrong:
            with pytest.raises(DTypeError, match=message):
                table.append({"id": range(len(cells)), "r": cells})
        assert table["r"][:].to_list() == [["a"]]


def test_casts_look_at_each_text() -> None:
    with kist.open(":memory:") as store:
        table = made(store, [["1", "2"], [], ["30"]], PLAIN)
        table.cast_column("r", CELLS)
        table["r"][1] = None
        with pytest.raises(DTypeError, match="row 1"):
            table.cast_column("r", ITEMS)
        table["r"][1] = np.array([None], MAYBE)
        table.cast_column("r", ITEMS)
        with pytest.raises(DTypeError, match=r"row 1.*item 0"):
            table.cast_column("r", PLAIN)
        table["r"][1] = ["4"]
        table.cast_column("r", ragged("U2"))
        assert table["r"][:].to_list() == [["1", "2"], ["4"], ["30"]]
        table.cast_column("r", PLAIN)
        table.cast_column("r", ragged("i4"), unsafe=True)
        assert table["r"][:].to_list() == [[1, 2], [4], [30]]
        table.cast_column("r", PLAIN, unsafe=True)
        assert table["r"][:].to_list() == [["1", "2"], ["4"], ["30"]]
        with pytest.raises(DTypeError):
            table.cast_column("r", WORDS)


def test_what_needs_single_values_is_refused_by_name() -> None:
    with kist.open(":memory:") as store:
        table = made(store, [["a"], []], PLAIN)
        for ask in (
            lambda: table["r"].max(),
            lambda: table.where("r == 'a'").count(),
            lambda: table.sort_by("r")[:],
            lambda: table.group_by("r").count(),
            lambda: table.distinct("r"),
            lambda: table.create_index("r"),
        ):
            with pytest.raises(kist.KistError, match="ragged text"):
                ask()


def test_large_columns_keep_every_text(path: Path) -> None:
    n = 120_000
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 4, n)
    words = np.array(["alpha", "beta", "longer than fifteen bytes", "", "ü"], WORDS)
    few = words[rng.integers(0, 5, int(lengths.sum()))]
    own = np.array([f"text {i} of many" for i in range(int(lengths.sum()))], WORDS)
    ends = np.append(0, lengths.cumsum())
    with kist.open(path, "x") as store:
        table = store.create_table("t", dtype={"id": "i4", "few": PLAIN, "own": PLAIN})
        table.append({"id": range(n), "few": Ragged(few, ends), "own": Ragged(own, ends)})
        table["own"][70_000:70_002] = [["patched"], []]
    with kist.open(path) as store:
        table = store["t"]
        assert table["few"][:].equals(Ragged(few, ends))
        found = table["own"][:]
        assert found[:70_000].equals(Ragged(own, ends)[:70_000])
        assert found[70_000:70_002].to_list() == [["patched"], []]
        some = np.sort(rng.choice(n, 500, replace=False))
        assert table["few"][some].equals(Ragged(few, ends)[some])
        assert table["few"].nbytes_stored < few.nbytes // 10
        assert store.check().ok


def test_long_texts_have_blocks_of_their_own(path: Path) -> None:
    long = ["é" * 900_000, "x" * 2_000_000]
    with kist.open(path, "x") as store:
        table = made(store, [["a"], long, [], long[:1], ["b"] * 50_000], PLAIN)
        table.append({"id": range(20_000), "r": [["c"]] * 20_000})
    with kist.open(path) as store:
        found = store["t"]["r"][:6]
        assert found[1].tolist() == long and found[3].tolist() == long[:1]
        assert found.lengths.tolist() == [1, 2, 0, 1, 50_000, 1]


def test_a_cell_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import kist.model.cast_ragged

    monkeypatch.setattr(kist.model.cast_ragged, "MAX_CELL", 1 << 20)
    with kist.open(":memory:") as store:
        table = made(store, [["a"]], PLAIN)
        for cell in (["x" * (1 << 20)], [""] * (1 << 16) + [""]):
            with pytest.raises(DTypeError, match=r"row 1.*more than the 1,048,576 of a cell"):
                table.append({"id": [1, 2], "r": [[], cell]})
        table.append({"id": [1], "r": [[""] * (1 << 16)]})


def test_sorting_beyond_memory_keeps_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kist.options, "max_memory", 1 << 20)
    cells: list[Cell] = [
        None if i % 9 == 4 else [None, f"text {i}", "x" * (i % 30)][: i % 4] for i in range(30_000)
    ]
    with kist.open(":memory:") as store:
        table = made(store, cells)
        assert table.sort_by("id", descending=True)["r"][:].to_list() == cells[::-1]


def test_a_few_cells_do_not_keep_their_neighbours() -> None:
    cells = Cells.of(np.full(1000, 2), np.array([f"{i}" * 9 for i in range(2000)], WORDS), PLAIN)
    few = cells[[3, 500]].owned()
    assert [cell.tolist() for cell in few.cells()] == [
        [f"{i}" * 9 for i in pair] for pair in ((6, 7), (1000, 1001))
    ]
    assert len(few.heap.parts) == 1 and len(few.heap.parts[0]) == 4
    assert cells[[3, 500]].sizes.tolist() == [2 * 16 + 18, 2 * 16 + 72]


def test_cells_are_equal_by_their_texts() -> None:
    one = Ragged.from_list([["a", None], None], CELLS)
    assert one.equals(Ragged.from_list([["a", None], None], CELLS))
    assert not one.equals(Ragged.from_list([["a", ""], None], CELLS))
    assert not one.equals(Ragged.from_list([[None, "a"], None], CELLS))
    assert repr(one) == "Ragged([['a', None], null], nullable text)"
    assert Ragged.from_list([["a"], ["b", None]]).dtype == ITEMS
    assert Ragged(np.array(["a", "b"], WORDS), [0, 2]).dtype == PLAIN
    assert Ragged.from_list([["a"], []], str).to_list() == [["a"], []]


def test_a_difference_names_the_row(tmp_path: Path) -> None:
    for name, some in {"a": ["x", None], "b": ["x", ""], "c": ["x", None]}.items():
        with kist.open(tmp_path / f"{name}.kist", "x") as store:
            made(store, [["same"], some])
    with (
        kist.open(tmp_path / "a.kist") as a,
        kist.open(tmp_path / "b.kist") as b,
        kist.open(tmp_path / "c.kist") as c,
    ):
        assert not list(compare(a["t"], c["t"]))
        (found,) = compare(a["t"], b["t"])
        assert "'r': 1 rows differ, the first in row 1" in str(found)


def test_flags_and_dtype_say_the_same() -> None:
    packed = pack_column(ColumnSpec(1, "r", PLAIN))
    assert unpack_column(Cursor(packed, "schema"), 1) == ColumnSpec(1, "r", PLAIN)
    assert packed[8] == TEXT | RAGGED
    for flags in (RAGGED, TEXT, TEXT | RAGGED | 1):
        with pytest.raises(CorruptDataError):
            unpack_column(Cursor(packed[:8] + bytes([flags]) + packed[9:], "schema"), 1)
    plain = pack_column(ColumnSpec(1, "r", ragged("i4")))
    with pytest.raises(CorruptDataError):
        unpack_column(Cursor(plain[:8] + bytes([TEXT | RAGGED]) + plain[9:], "schema"), 1)


def test_frames_keep_lists_of_text() -> None:
    pa = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    cells: list[Cell] = [["a", None], None, [], ["b" * 20]]
    kinds = [
        pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string_view()),
        pa.list_view(pa.string()), pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ]  # fmt: skip
    with kist.open(":memory:") as store:
        for at, kind in enumerate(kinds):
            given = pa.array(cells, kind)
            store[f"a{at}"] = pa.table({"r": given.slice(0, 0)})
            store[f"b{at}"] = pa.table({"r": given})
            store[f"b{at}"].append(pa.table({"r": given[1:]}))
            assert store[f"a{at}"]["r"].dtype == ITEMS and store[f"b{at}"]["r"].dtype == CELLS
            assert store[f"b{at}"]["r"][:].to_list() == cells + cells[1:]
            assert store[f"b{at}"].to_arrow()["r"].to_pylist() == cells + cells[1:]
        pairs = pa.array([["a", None], ["b", "c"]], pa.list_(pa.string(), 2))
        store["pairs"] = pa.table({"r": pairs})
        assert store["pairs"]["r"][:].to_list() == pairs.to_pylist()
        frame = pandas.DataFrame({"r": pandas.Series(cells), "n": range(4)})
        store["p"] = frame
        assert store["p"]["r"].dtype == CELLS
        found = store["p"].to_pandas()["r"].tolist()
        assert [None if cell is None else cell.tolist() for cell in found] == cells
        arrays = pandas.DataFrame({"r": [np.array(["a", "b"], object), np.array(["c"], object)]})
        store["q"] = arrays
        assert store["q"]["r"][:].to_list() == [["a", "b"], ["c"]]
        typed = pandas.DataFrame({"r": pandas.Series(cells, dtype=pandas.ArrowDtype(kinds[0]))})
        store["k"] = typed
        assert store["k"].to_pandas().dtypes.tolist() == typed.dtypes.tolist()
        series = polars.DataFrame({"r": cells})
        store["s"] = series
        assert store["s"].to_polars().equals(series)
        assert store["s"]["r"][:].to_arrow().to_pylist() == cells


def test_salvage_and_split_keep_lists_of_text(tmp_path: Path) -> None:
    cells: list[Cell] = [None if i % 7 == 3 else [f"{i}", None][: i % 3] for i in range(3_000)]
    with kist.open(tmp_path / "a.kist", "x") as store:
        made(store, cells)
    kist.salvage(tmp_path / "a.kist", tmp_path / "b.kist")
    parts = kist.split(tmp_path / "a.kist", "t", parts=2)
    with kist.open(tmp_path / "b.kist") as store:
        assert store["t"]["r"][:].to_list() == cells
    kist.merge(parts, tmp_path / "d.kist")
    with kist.open(tmp_path / "d.kist") as store:
        assert store["t"]["r"][:].to_list() == cells


def test_lists_of_text_are_sealed(tmp_path: Path) -> None:
    key = bytes(range(32))
    cells: list[Cell] = [["a secret", None], None, [], ["more"]] * 100
    with kist.open(tmp_path / "a.kist", "x") as store:
        dtype = {"id": "i4", "r": CELLS}
        table = store.create_table("t", dtype=dtype, encrypt={"r": key})
        table.append({"id": range(400), "r": cells})
        table["r"][1] = ["patched secret"]
    assert b"secret" not in (tmp_path / "a.kist").read_bytes()
    with kist.open(tmp_path / "a.kist", secrets=[key]) as store:
        found = store["t"]["r"][:].to_list()
        assert found == [cells[0], ["patched secret"], *cells[2:]]
