"""Ragged columns against plain lists of arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kist
from kist import Ragged, ragged
from kist._kernels.cells import Cells
from kist.errors import (
    CorruptDataError,
    DTypeError,
    QueryError,
    SelectionError,
    ShapeError,
)
from kist.format.ragged import is_ragged

DTYPES: list[Any] = [
    "f8", ">f4", "u1", ">i2", "?", "c16", "M8[s]", ">m8[ms]", "S3", "U2", "V5",
    [("a", ">i2"), ("b", "f4", (2,))],
]  # fmt: skip


def cells_of(
    n: int, dtype: Any, seed: int, shape: tuple[int, ...] = (), most: int = 6
) -> list[Any]:
    """Cells of random lengths and bytes."""
    rng = np.random.default_rng(seed)
    item = np.dtype((dtype, shape)) if shape else np.dtype(dtype)
    base = item.base
    found = []
    for length in rng.integers(0, most, n).tolist():
        raw = rng.integers(0, 2 if base == "?" else 100, length * item.itemsize).astype("u1")
        if base.kind == "U":
            raw.view("u4")[...] %= 100
        found.append(np.ndarray((length, *shape), base, raw.tobytes()))
    return found


def flip(path: Path, at: int) -> None:
    """Invert a byte of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes((byte ^ 0xFF,)))


def same(found: Any, cells: list[Any]) -> bool:
    """Whether cells are the same, byte for byte."""
    return len(found) == len(cells) and all(
        a == b if isinstance(b, bytes) else a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(found, cells, strict=True)
    )


def made(store: kist.Store, dtype: Any, cells: Any, **more: Any) -> kist.Table:
    """A table with an id and a ragged column of these cells."""
    table = store.create_table("t", dtype={"id": "i8", "r": dtype}, **more)
    if len(cells):
        table.append({"id": np.arange(len(cells)), "r": cells})
    return table


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [3, 9_000])
def test_cells_come_back_byte_for_byte(dtype: Any, n: int, path: Path) -> None:
    cells = cells_of(n, dtype, n)
    with kist.open(path, "w") as store:
        made(store, ragged(dtype), Ragged.from_list(cells, dtype))
    with kist.open(path) as store:
        table = store["t"]
        assert is_ragged(table["r"].dtype) and table["r"].dtype == ragged(dtype)
        assert same(list(table["r"][:]), cells)
        assert same([table["r"][n // 2], table[n // 2]["r"]], [cells[n // 2]] * 2)
        assert store.check().ok


@pytest.mark.parametrize("shape", [3, (2, 2)])
def test_items_have_a_shape(shape: Any) -> None:
    dtype = ragged("i2", shape)
    inner = (shape,) if isinstance(shape, int) else shape
    cells = cells_of(5_000, "i2", 1, inner)
    with kist.open(":memory:") as store:
        found = made(store, dtype, cells)["r"][:]
        assert found.values.shape[1:] == inner and same(list(found), cells)


def test_bytes_of_any_length_are_bytes() -> None:
    cells = [b"a\0", b"", bytes(range(256)) * 9, b"\0"] * 2_000
    with kist.open(":memory:") as store:
        table = made(store, ragged(bytes), cells)
        assert list(table["r"][:]) == cells and table["r"][:].to_list() == cells
        assert table[2]["r"] == cells[2] and table["r"][-1] == b"\0"


@pytest.mark.parametrize(
    "give",
    [
        list,
        lambda cells: [cell.tolist() for cell in cells],
        lambda cells: Ragged.from_list(cells, "f8"),
        lambda cells: Ragged.from_list(cells, "f8")._cells().objects(),
        lambda cells: Ragged(np.concatenate(cells), np.append(0, np.cumsum(list(map(len, cells))))),
        lambda cells: pytest.importorskip("pyarrow").array([cell.tolist() for cell in cells]),
    ],
    ids=["arrays", "lists", "Ragged", "objects", "values and offsets", "Arrow"],
)
def test_cells_may_be_given_in_many_ways(give: Callable[[Any], Any]) -> None:
    cells = cells_of(200, "f8", 3)
    with kist.open(":memory:") as store:
        table = made(store, ragged("f8"), give(cells))
        assert same(list(table["r"][:]), cells)
        table["r"][:] = give(cells[::-1])
        assert same(list(table["r"][:]), cells[::-1])


ITEMS = st.lists(st.integers(-100, 100), max_size=5)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(ITEMS, min_size=1, max_size=8)),
    st.tuples(st.just("bulk"), st.integers(1, 3)),
    st.tuples(st.just("assign"), st.integers(0, 1 << 30), ITEMS),
    st.tuples(st.just("update"), st.integers(1, 6), ITEMS),
    st.tuples(st.just("delete"), st.integers(2, 9)),
    st.tuples(st.just("upsert"), st.lists(ITEMS, min_size=1, max_size=4)),
    st.tuples(st.just("insert"), st.integers(0, 1 << 30), ITEMS),
    st.tuples(st.just("compact")),
    st.tuples(st.just("reopen")),
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=12))
def test_programs_agree_with_a_list(tmp_path_factory: Any, steps: list[Any]) -> None:
    path = tmp_path_factory.mktemp("ragged") / "x.kist"
    ids: list[int] = []
    cells: list[list[int]] = []
    store = kist.open(path, "w")
    table = made(store, ragged("i2"), [])
    for what, *more in steps:
        n = len(cells)
        if what == "append":
            table.append([(n + i, cell) for i, cell in enumerate(more[0])])
            ids += range(n, n + len(more[0]))
            cells += more[0]
        elif what == "bulk":
            new = [[i % 7] * (i % 4) for i in range(more[0] * 3_000)]
            table.append({"id": np.arange(n, n + len(new)), "r": Ragged.from_list(new, "i2")})
            ids += range(n, n + len(new))
            cells += new
        elif what == "assign" and n:
            table["r"][more[0] % n] = more[1]
            cells[more[0] % n] = more[1]
        elif what == "update" and n:
            table.where("id % k == 0", k=more[0]).update({"r": more[1]})
            cells = [more[1] if i % more[0] == 0 else c for i, c in zip(ids, cells, strict=True)]
        elif what == "delete":
            table.where("id % k == 1", k=more[0]).delete()
            kept = [i % more[0] != 1 for i in ids]
            cells = [c for c, ok in zip(cells, kept, strict=True) if ok]
            ids = [i for i, ok in zip(ids, kept, strict=True) if ok]
        elif what == "upsert":
            rows = [(1_000_000 + i, cell) for i, cell in enumerate(more[0])]
            table.upsert(rows, on="id")
            for key, cell in rows:
                if key in ids:
                    cells = [cell if i == key else c for i, c in zip(ids, cells, strict=True)]
                else:
                    ids.append(key)
                    cells.append(cell)
        elif what == "insert":
            table.insert(more[0] % (n + 1), [(-1, more[1])])
            ids.insert(more[0] % (n + 1), -1)
            cells.insert(more[0] % (n + 1), more[1])
        elif what == "compact":
            store.compact()
        elif what == "reopen":
            store.close()
            store = kist.open(path, "a")
            table = store["t"]
        assert table["r"][:].to_list() == cells
    assert table["id"][:].tolist() == ids
    assert [cell.tolist() for cell in table[:]["r"]] == cells
    assert table.where("len(r) > 1")["id"][:].tolist() == [
        i for i, cell in zip(ids, cells, strict=True) if len(cell) > 1
    ]
    assert store.check().ok
    store.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(ITEMS, max_size=30), st.data())
def test_ragged_is_indexed_as_a_list_is(cells: list[list[int]], data: st.DataObject) -> None:
    found = Ragged.from_list(cells, "i4")
    n = len(cells)
    assert found.to_list() == cells and len(found) == n
    assert found.lengths.tolist() == list(map(len, cells))
    part = data.draw(st.slices(n))
    assert found[part].to_list() == cells[part]
    picks = data.draw(st.lists(st.integers(-n, n - 1), max_size=9)) if n else []
    assert found[np.array(picks, int)].to_list() == [cells[i] for i in picks]
    mask = np.array([bool(len(cell) % 2) for cell in cells], bool)
    assert found[mask].to_list() == [cell for cell in cells if len(cell) % 2]
    assert found[part].equals(Ragged.from_list(cells[part], "i4"))
    with pytest.raises(SelectionError):
        found[n]


def test_cells_keep_their_items_wherever_they_are_taken() -> None:
    cells = Ragged.from_list(cells_of(3_000, "i4", 5), "i4")._cells()
    rng = np.random.default_rng(0)
    parts = [cells[rng.permutation(3_000)[:500]].owned() for _ in range(70)]
    mixed = np.concatenate(parts)[rng.permutation(35_000)]
    apart = [cell for part in parts for cell in part.cells()]
    order = np.random.default_rng(0)
    for _ in range(70):
        order.permutation(3_000)
    wanted = [apart[i] for i in order.permutation(35_000)]
    assert same(mixed.cells(), wanted)
    bare = np.zeros(3, cells.dtype)
    with pytest.raises(TypeError, match="Cells"):
        cells[:3] = bare


def test_columns_come_change_and_go() -> None:
    cells = cells_of(5_000, "i4", 7)
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), cells)
        table.append([(5_000, [1, 2])])
        table.add_column("d", ragged("f4"), fill_value=[0.5])
        table.add_column("v", kist.expr("len(r)"), virtual=True)
        table.add_column("s", kist.expr("len(r) * 2"))
        table.append([(5_001, [], [])])
        assert table["d"][4_998:].to_list() == [[0.5]] * 3 + [[]]
        assert table["v"][-2:].tolist() == [2, 0]
        table["r"][3] = [1, 2, 3]
        assert (table["v"][3], table["s"][3]) == (3, 6)
        table.cast_column("r", ragged("f8"))
        assert same(list(table["r"][:3]), [cell.astype("f8") for cell in cells[:3]])
        table.rename_column("r", "q")
        table.drop_column("d")
        assert table["q"][3].tolist() == [1, 2, 3]
        assert table["q"].fill_value is None
        table["q"].fill_value = [9]
        table.append({"id": [1]})
        assert table["q"][-1].tolist() == [9]
        assert store.check().ok


def test_cells_become_rows_of_one_length_and_fixed_bytes() -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), [[1, 2], [3, 4]])
        table.cast_column("r", ("i4", (2,)))
        assert table["r"][:].tolist() == [[1, 2], [3, 4]]
        table.cast_column("r", ragged("i4"))
        assert table["r"][:].to_list() == [[1, 2], [3, 4]]


def test_a_cell_larger_than_a_page_is_a_row_group_of_its_own() -> None:
    large = np.arange(5_000_000, dtype="i8")  # 40 MB, where a page has 16 at most
    with kist.open(":memory:") as store:
        table = made(store, ragged("i8"), [[1], large, [2, 3]])
        assert table["r"][1].tobytes() == large.tobytes()
        assert [table["r"][0].tolist(), table["r"][2].tolist()] == [[1], [2, 3]]
        assert table["r"].nbytes_stored < large.nbytes / 4


def test_one_cell_decodes_one_block() -> None:
    import kist.codecs.raggedpages as pages

    cells = Ragged(np.arange(65_536 * 4), np.arange(0, 65_537 * 4, 4))
    with kist.open(":memory:") as store:
        table = made(store, ragged("i8"), cells)
        opened: list[int] = []
        original = pages.open_cells
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                pages, "open_cells", lambda *args: (opened.append(args[1]), original(*args))[1]
            )
            assert table["r"][30_000].tolist() == list(range(120_000, 120_004))
        assert opened == [8_192]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1], 5], "row 1, column 'r'"),
        ([[1], None], "row 1, column 'r'.*null"),
        ([[1], [2, None]], "item 1"),
        ([[1], [2, 2**40]], "row 1.*item 1"),
        ([[1], [2.5]], "row 1.*item 0"),
        ([[1], ["a"]], "text"),
        ([[1], [[2]]], "row 1"),
        ([[1], "ab"], "row 1"),
        (np.arange(2), "'r' is a single value"),
        ([np.arange(3), np.zeros((2, 2), int)], "row 1"),
    ],
)
def test_what_is_no_cell_is_refused_and_changes_nothing(cells: Any, message: str) -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), [[7]])
        with pytest.raises((DTypeError, ShapeError), match=f"(?s){message}"):
            table.append({"id": [1, 2], "r": cells})
        assert table["r"][:].to_list() == [[7]]


@pytest.mark.parametrize(
    "dtype",
    ["O", "U", "S0", "V0", [("a", "O")], [("a", ragged("f4"))]],
)
def test_items_without_a_fixed_width_are_refused(dtype: Any) -> None:
    if dtype == "S0":
        assert ragged(dtype) == ragged(bytes)
        return
    with pytest.raises(DTypeError):
        ragged(dtype)


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t["r"].sum(),
        lambda t: t["r"].max(),
        lambda t: t.where("id >= 0")["r"].mean(),
        lambda t: t.sort_by("r")[:],
        lambda t: t.distinct("r")[:],
        lambda t: t.group_by("r").agg(n="count")[:],
        lambda t: t.group_by("id").agg(n=("r", "sum"))[:],
        lambda t: t.where("r > 1")[:],
        lambda t: t.where("len(id) > 1")[:],
        lambda t: t[t["r"] == 1][:],
        lambda t: t.create_index("r"),
        lambda t: t.upsert([(1, [1])], on="r"),
        lambda t: t.cast_column("r", "f8"),
        lambda t: kist.evaluate("a + 1", a=t["r"]),
        lambda t: t.update({"r": kist.expr("id")}),
        lambda t: t.file.create_array("a", dtype=ragged("f4"), shape=(3,)),
        lambda t: t.file.create_table("u", dtype=[("a", ragged("f4"), (2,))]),
        lambda t: t.file.create_table("u", dtype=[("a", [("b", ragged("f4"))])]),
    ],
)
def test_what_cells_cannot_do_is_refused_by_name(use: Callable[[Any], Any]) -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("f4"), [[1], [2, 3]])
        with pytest.raises((DTypeError, QueryError, SelectionError)) as error:
            use(table)
        assert "start" not in str(error.value), "the fields of the dtype are nobody's business"
        assert table["r"][:].to_list() == [[1], [2, 3]]


def test_lengths_are_conditions_orders_and_groups() -> None:
    cells = cells_of(20_000, "f4", 11)
    lengths = np.array(list(map(len, cells)))
    with kist.open(":memory:") as store:
        table = made(store, ragged("f4"), cells)
        assert table.where("len(r) == 3 and id < 9000").indices().tolist() == [
            i for i in range(9_000) if lengths[i] == 3
        ]
        order = table.sort_by(kist.expr("len(r)"), descending=True)
        assert order["id"][:].tolist() == np.argsort(-lengths, kind="stable").tolist()
        assert same(list(order["r"][:50]), [cells[i] for i in order["id"][:50]])
        assert same(list(order[:50]["r"]), [cells[i] for i in order["id"][:50]])


def test_sorting_beyond_memory_keeps_cells() -> None:
    cells = cells_of(30_000, "i4", 13)
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), cells)
        kist.options.max_memory = 1 << 20
        try:
            found = list(table.sort_by("id", descending=True)["r"][:])
        finally:
            kist.options.reset()
        assert same(found, cells[::-1])


def test_dicts_say_one_row_or_columns() -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), [])
        table.append({"id": 1, "r": [1, 2]})
        table.append({"id": 2, "r": []})
        table.append({"id": [3, 4], "r": [[], [5]]})
        table.append({"id": [], "r": []})
        assert table["r"][:].to_list() == [[1, 2], [], [], [5]]
        with pytest.raises(ShapeError):
            table.append({"id": [1, 2], "r": [1, 2]})


def test_tables_are_made_of_uneven_lists() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"r": [[1.5], [2, 3]], "b": [b"x", b"y\0"]})
        assert table["r"][:].to_list() == [[1.5], [2.0, 3.0]]
        assert table["b"][:].tolist() == [b"x", b"y"]  # NumPy has made S of it before
        objects = np.array([b"x", b"y\0"], object)
        assert list(store.create_table("o", {"b": objects})["b"][:]) == [b"x", b"y\0"]
        again = store.create_table("u", table[["r"]][:])
        assert again["r"][:].equals(table["r"][:])


def test_reading_around_damage_and_salvage_leave_empty_cells(path: Path, tmp_path: Path) -> None:
    cells = cells_of(20_000, "f8", 17)
    with kist.open(path, "w") as store:
        made(store, ragged("f8"), Ragged.from_list(cells, "f8"))
        state, fields = store["t"]["r"]._now()
        pointer, _ = state.page(fields.stored[0], state.layout.groups[0])
    flip(path, pointer.offset + 128 + pointer.length - 40)
    with kist.open(path) as store:
        table = store["t"]
        with pytest.raises(CorruptDataError, match="'r'"):
            table["r"][:]
        assert table["id"][-1] == 19_999
        with pytest.warns(kist.DamageWarning):
            found = table["r"].read(errors="mask")
        assert found.mask.all() and len(found.data[0]) == 0
    report = kist.salvage(path, tmp_path / "out.kist")
    assert "r" in str(report)
    with kist.open(tmp_path / "out.kist") as store:
        found = store["t"]["r"][:]
        assert len(found) == 20_000 and not found.lengths[-1] and store.check().ok


def test_a_difference_names_the_first_cell_that_is_another(tmp_path: Path) -> None:
    for name, cells in (("a", [[1.0], [2.0, np.nan]]), ("b", [[1.0], [2.0, 3.0]])):
        with kist.open(tmp_path / name, "w") as store:
            made(store, ragged("f8"), cells)
    from kist.model.comparing import compare

    with kist.open(tmp_path / "a") as a, kist.open(tmp_path / "b") as b:
        assert not list(compare(a["t"], a["t"]))
        (found,) = compare(a["t"], b["t"])
        assert "'r': 1 rows differ, the first in row 1" in str(found)


def test_old_versions_show_their_cells(path: Path) -> None:
    with kist.open(path, "w") as store:
        table = made(store, ragged("i4"), [[1], [2, 3]])
        store.tag("before")
        table["r"][0] = [9, 9]
        table.where("id == 1").delete()
        store.copy("t", "copy")
        assert store["copy"]["r"][:].to_list() == [[9, 9]]
    with kist.open(path, version="before") as store:
        assert store["t"]["r"][:].to_list() == [[1], [2, 3]]


def test_a_row_of_a_loop_holds_and_takes_cells() -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), [[1], [2, 3]])
        for row in table:
            assert isinstance(row["r"], np.ndarray)
            row["r"] = [*row["r"].tolist(), 7]
            row.update()
        assert table["r"][:].to_list() == [[1, 7], [2, 3, 7]]


def test_reprs_show_cells() -> None:
    with kist.open(":memory:") as store:
        table = made(store, ragged("i4"), [[1], [2, 3]])
        assert "ragged int32" in repr(table) and "[2 3]" in repr(table)
        assert "ragged int32" in repr(table["r"]) and "ragged int32" in str(table.info)
    assert repr(Ragged.from_list([[1]] * 9)) == (
        "Ragged([[1], [1], [1], ..., [1], [1], [1]], int64, 9 cells)"
    )


@pytest.mark.parametrize("offsets", [[], [1, 0], [-1, 2], [0, 9], [0.5], [[0, 1]]])
def test_offsets_that_are_none_are_refused(offsets: Any) -> None:
    with pytest.raises(ShapeError):
        Ragged(np.arange(3), offsets)


def test_cells_without_a_heap_are_never_stored() -> None:
    places = np.zeros(3, ragged("f4"))
    places["length"] = 1
    with pytest.raises(AttributeError):
        places.view(Cells).gather()


def test_cells_stand_beside_categories_and_nulls(tmp_path: Path) -> None:
    kinds = {"c": kist.categorical(), "n": kist.nullable("f4"), "r": ragged("i2")}
    rows: list[Any] = [("x", 1.5, [1, 2]), (None, None, []), ("y", 2.5, [3]), ("x", None, [4, 5])]
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype=kinds)
        table.append(rows * 3_000)
        assert table.where("c == 'x' and len(r) > 1")["r"][:2].to_list() == [[1, 2], [4, 5]]
        assert table.where("n > 2")["r"][0].tolist() == [3]
        table.where("c == 'y'").update({"c": "z", "r": [[7, 8, 9]] * 3_000})
        copied = store.create_table("copy", table)
        assert copied["r"].dtype == ragged("i2") and list(copied["c"].categories) == ["x", "y", "z"]
        assert copied["r"][:4].to_list() == [[1, 2], [], [7, 8, 9], [4, 5]]
        expected = table["r"][:].to_list()
        found = table.to_arrow()
        assert (
            found["r"].to_pylist() == expected and found["c"].to_pylist() == table["c"][:].tolist()
        )


def test_split_tables_are_merged_with_their_cells(tmp_path: Path) -> None:
    cells = cells_of(20_000, "f4", 3)
    with kist.open(tmp_path / "a.kist", "w") as store:
        made(store, ragged("f4"), cells)
    parts = kist.split(tmp_path / "a.kist", "t", rows=7_000, out=tmp_path / "parts")
    with kist.union([str(part) for part in parts], "t") as union:
        assert same(list(union["r"][6_990:7_010]), cells[6_990:7_010])
    kist.merge(parts, tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert same(list(store["t"]["r"][:]), cells)
