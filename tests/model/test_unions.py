"""Unions: tables of one store read and queried as one."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from table_programs import same, small_groups

import kist
from kist.engine import pages
from kist.errors import (
    ColumnNotFoundError,
    CorruptDataError,
    DTypeError,
    NodeNotFoundError,
    ReadOnlyError,
    SelectionError,
    StoreClosedError,
)
from kist.format.schema import Leaf
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.state import TableState
from kist.model.unions.backend import FILE_BITS, FilesBackend
from kist.storage import MemoryBackend

Array = np.ndarray[Any, Any]
DTYPE = np.dtype([("a", "i4"), ("b", "f8"), ("s", "S3")])


def rows(n: int, first: int = 0) -> Array:
    out = np.zeros(n, DTYPE)
    out["a"] = np.arange(first, first + n)
    out["b"] = out["a"] % 7 / 4
    out["s"] = np.array([b"x", b"yy", b"zzz"])[out["a"] % 3]
    return out


QUERIES: dict[str, Any] = {
    "rows": lambda t: t[:],
    "some": lambda t: t[5:-3:4],
    "scattered": lambda t: t[[3, 1, 1, len(t) - 1]] if len(t) > 3 else None,
    "column": lambda t: t["b"][2:],
    "columns": lambda t: t[["s", "a"]][:7],
    "where": lambda t: t.where("(a > 40) & (s == 'yy')")[:],
    "count": lambda t: t.where("b < 1").count(),
    "indices": lambda t: t.where("a % 5 == 0").indices(),
    "none": lambda t: t.where("a > 1_000_000")["b"][:],
    "sum": lambda t: (t["a"].sum(), t.where("b > 0.5")["a"].max()) if len(t) > 9 else None,
    "mean": lambda t: np.nan_to_num(np.round(t["b"].mean(), 9)),
    "sort": lambda t: t.sort_by("s", "b")[:],
    "top": lambda t: t.sort_by("a", descending=True).limit(3)[:],
    "groups": lambda t: t.group_by("s").agg({"a": ["min", "count"]}),
    "distinct": lambda t: t.distinct("s")["a"][:],
    "tail": lambda t: t.tail(4)[:],
    "sample": lambda t: t.sample(5, seed=1)["a"][:],
    "blocks": lambda t: np.concatenate([*t.blocks(13), t[:0]]),
    "row": lambda t: [row["a"] for row in t],
    "array": lambda t: np.asarray(t),
    "arrow": lambda t: t.to_arrow().to_pylist()[:50],
    "pandas": lambda t: t.where("a > 3").to_pandas().to_numpy().tolist()[:50],
}


def equal(a: Any, b: Any) -> bool:
    return same(a, b) if isinstance(a, np.ndarray) else bool(np.all(a == b))


@hypothesis.settings(max_examples=8, phases=[hypothesis.Phase.generate])
@hypothesis.given(data=st.data())
def test_a_union_answers_like_one_table_of_all_rows(data: st.DataObject) -> None:
    with small_groups(), kist.open(":memory:") as store:
        first = 0
        for number in range(data.draw(st.integers(1, 4))):
            t = store.create_table(f"parts/{number}", dtype=DTYPE)
            for n in data.draw(st.lists(st.sampled_from([1, 15, 64, 150]), max_size=3)):
                t.append(rows(n, first))
                first += n
            how = data.draw(st.sampled_from(["", "patched", "deleted", "other ids", "grown"]))
            if how == "patched" and len(t):
                t["b"][:: data.draw(st.integers(1, 9))] = 9.5
            elif how == "deleted":
                t.delete(slice(0, len(t), 3))
            elif how == "other ids":
                t.drop_column("b")
                t.add_column("b", t["a"][:] * 0.5)
                if len(t):
                    t["b"][0] = 3.25
            elif how == "grown" and len(t):
                t.drop_column("s")
                t.add_column("s", dtype="S3", fill_value=b"q")
        union = store.union("parts/*")
        whole = np.concatenate([part[list(union.columns)][:] for part in union.parts])
        store["whole"] = whole.astype(union.dtype) if whole.dtype != union.dtype else whole
        assert len(union) == len(store["whole"]) and union.dtype == store["whole"].dtype
        for name, query in QUERIES.items():
            assert equal(query(union), query(store["whole"])), name


def test_columns_of_every_sort_are_read(path: Path) -> None:
    with kist.open(path, "w") as store:
        for number in range(2):
            t = store.create_table(f"p/{number}", rows(5, 5 * number))
            t.add_column("n", np.ma.MaskedArray(np.arange(5), np.arange(5) % 2))
            t.add_column("text", np.array(["é", "", "x", "y", "z"], np.dtypes.StringDType()))
            t.add_column("v", kist.expr("a * 2"), virtual=True)
        union = store.union("p/*")
        assert union["n"][:].tolist() == [0, None, 2, None, 4] * 2
        assert union["n"].sum() == 12 and union.where("n == 2").count() == 2
        assert union["text"][3:7].tolist() == ["y", "z", "é", ""]
        assert union["v"][:].tolist() == list(range(0, 20, 2))
        assert union.where("text == 'x'")["a"][:].tolist() == [2, 7]
        assert union.where("v > 16")["a"][:].tolist() == [9]


def test_pages_that_statistics_rule_out_are_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(path, "w") as store:
        for number in range(20):
            store[f"day/{number:02}"] = rows(5_000, 5_000 * number)
        union = store.union("day/*")
        read: list[int] = []
        original = pages._decode_verified

        def counted(pointer: Any, *rest: Any) -> None:
            read.append(pointer.offset)
            original(pointer, *rest)

        monkeypatch.setattr(pages, "_decode_verified", counted)
        hits = union.where("(a >= 12_000) & (a < 12_010)")
        assert hits["b"][:].tolist() == (np.arange(12_000, 12_010) % 7 / 4).tolist()
        assert len(set(read)) == 2  # the two columns of one table
        assert "1 of 20 scanned" in str(hits.explain())
        read.clear()
        assert union.where("a < 0").count() == 0 and union["a"].max() == 99_999
        assert not read


def test_all_calls_see_what_the_handle_sees(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["p/1"] = rows(3)
        union = store.union("p/*")
        old = kist.open(path).union("p/*")
        store["p/2"] = rows(4)
        assert len(union) == 7 and len(old) == 3
        assert old.store.refresh() and len(old) == 7
        with store.transaction():
            store["p/1"].append(rows(1))
            assert len(union) == 8
            store["p/1"].append(rows(1))
            assert len(union) == 9
            blocks = union.blocks(2)
            assert len(next(blocks)) == 2
        with store.read():
            before = len(union)
            assert before == 9
        del store["p/1"]
        assert len(union) == 4
        del store["p/2"]
        with pytest.raises(NodeNotFoundError, match=r"no dataset matches 'p/\*'"):
            len(union)
        assert len(old) == 7
        old.store.close()
        with pytest.raises(StoreClosedError):
            len(old)


def test_a_union_holds_no_old_commit(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["p/1"] = rows(3)
        union = store.union("p/*")
        for _ in range(3):
            store["p/1"].append(rows(1))
            assert len(union[:]) and union.where("a > 1").count()
        gc.collect()
        commits = [pin["commit"] for pin in store.info["pins"]]
        assert len(commits) <= 1 and all(commit == store.commit_id for commit in commits)


def test_patterns_name_tables_in_their_order(path: Path) -> None:
    with kist.open(path, "w") as store:
        for number, name in enumerate(["a/x1", "a/x2", "a/y", "b/c/x1", "z"]):
            store[name] = rows(1, number)

        def found(*patterns: str) -> list[int]:
            values: list[int] = store.union(*patterns)["a"][:].tolist()
            return values

        assert found("a/*") == [0, 1, 2]
        assert found("a/x?") == [0, 1]
        assert found("**/x1") == [0, 3]
        assert found("**") == [0, 1, 2, 3, 4]
        assert found("z", "a/x2", "a/*") == [4, 1, 0, 2]
        assert found("/a/[!x]*") == [2]
        assert store["a"].union("x*", "/z")["a"][:].tolist() == [0, 1, 4]
        assert [part.name for part in store.union("a/x*").parts] == ["/a/x1", "/a/x2"]


def test_what_is_no_union_is_refused(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["p/1"], store["p/2"] = (
            rows(1),
            rows(1).astype([("a", "i8"), ("b", "f8"), ("s", "S3")]),
        )
        store["x"] = [1, 2, 3]
        with pytest.raises(DTypeError, match=r"'/p/2'.*\n  ~ a: int32 -> int64"):
            store.union("p/*")
        store.create_keystore("runs")
        for wrong in (("p/1", "x"), ("runs",)):
            with pytest.raises(SelectionError, match="of tables or of arrays"):
                store.union(*wrong)
        with pytest.raises(SelectionError):
            store.union()
        for missing in ("none", "none/*"):
            with pytest.raises(NodeNotFoundError):
                store.union(missing)
        with pytest.raises(ColumnNotFoundError):
            store.union("p/1")["c"]


def test_a_union_is_not_changed(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["p/1"], store["p/2"] = rows(5), rows(5)
        store.attrs["of"] = "the root"
        union = store.union("p/*")

        def update() -> None:
            for row in union:
                row["a"] = 1
                row.update()

        changes: list[Any] = [
            lambda: union.append(rows(1)),
            lambda: union.__setitem__(0, (1, 2, b"")),
            lambda: union["a"].__setitem__(0, 5),
            lambda: union.where("a > 1").update({"a": 0}),
            lambda: union.where("a > 1").delete(),
            lambda: union.attrs.__setitem__("k", 1),
            lambda: union.create_index("a"),
            update,
        ]
        commit = store.commit_id
        for change in changes:
            with pytest.raises(ReadOnlyError, match="change the tables"):
                change()
        assert store.commit_id == commit and dict(union.attrs) == {}
        assert repr(union).startswith("<kist.Union 'union of p/*', 10 rows x 3 columns")
        assert "a" in union and union.columns == ("a", "b", "s") and union.keys() == union.columns


# Tables of several files


def test_an_offset_names_a_file_and_a_place_in_it() -> None:
    contents = [bytes(range(100)), bytes(range(100, 0, -1)), b"x" * 50]
    inner = [MemoryBackend() for _ in contents]
    for one, content in zip(inner, contents, strict=True):
        one.write(0, [content])
    whole = FilesBackend(inner)
    assert whole.size() == 250
    for number, content in enumerate(contents):
        at = (number << FILE_BITS) + 7
        buffer = bytearray(9)
        assert whole.read(at, 9) == content[7:16] and whole.read_into(at, buffer) == 9
        memory, start = whole.map(at, 9, 1)
        assert buffer == memoryview(memory)[start : start + 9] == content[7:16]
        assert whole.is_near(at, at + 9)
    for write in (
        lambda: whole.write(0, [b"y"]),
        lambda: whole.resize(1),
    ):
        with pytest.raises(ReadOnlyError):
            write()


def files(folder: Path, n: int = 3, size: int = 50) -> list[str]:
    names = []
    for number in range(n):
        names.append(str(folder / f"part-{number:03}.kist"))
        with kist.open(names[-1], "w") as store:
            store["t"] = rows(size, size * number)
    return names


@pytest.mark.parametrize("number", [0, 1])
def test_a_pointer_of_one_file_leads_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in "ab":
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["t"] = np.full(70_000, ord(name), [("x", "i4")])
    find_page = TableState.find_page

    def hostile(self: TableState, leaf: Leaf, group: Group) -> Any:
        found = find_page(self, leaf, group)
        if type(self) is not TableState or found is None:
            return found
        pointer, record = found
        return pointer._replace(offset=pointer.offset | 1 << FILE_BITS), record

    with kist.union([tmp_path / "a.kist", tmp_path / "b.kist"], "t") as both:
        monkeypatch.setattr(TableState, "find_page", hostile)
        name = "ab"[number]
        with pytest.raises(CorruptDataError, match=rf"{name}\.kist.*impossible pointer"):
            both["x"][number * 70_000 : number * 70_000 + 10]


def test_tables_of_several_files_answer_like_one(tmp_path: Path) -> None:
    with small_groups():
        names = files(tmp_path, 3, 150)
        with kist.open(names[1], "r+") as store:
            t = store["t"]
            t["b"][::7] = 9.5
            t.delete(slice(0, 150, 4))
            values = t["s"][:]
            t.drop_column("s")
            t.add_column("s", values)
        kist.merge(names, tmp_path / "whole.kist")
        with (
            kist.union(tmp_path / "part-*.kist", "t") as union,
            kist.open(tmp_path / "whole.kist") as whole,
        ):
            assert len(union.parts) == 3
            for name, query in QUERIES.items():
                assert equal(query(union), query(whole["t"])), name


def test_a_condition_reads_only_the_files_that_may_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, 12, 5_000)
    with kist.union([tmp_path / "*.kist"]) as union:
        read: set[str] = set()
        original = pages._decode_verified
        monkeypatch.setattr(
            pages, "_decode_verified", lambda p, *r: (read.add(p.offset >> 46), original(p, *r))
        )
        assert union.where("(a > 40_100) & (a < 40_103)")["b"].sum() == sum(
            n % 7 / 4 for n in (40_101, 40_102)
        )
        assert read == {8}


def test_files_show_the_commit_they_had_until_refresh(tmp_path: Path) -> None:
    names = files(tmp_path)
    with kist.open(names[2], "r+") as live, kist.union([*names[:2], live], "t") as union:
        with kist.open(names[0], "r+") as store:
            store["t"].append(rows(5))
        live["t"].append(rows(1))
        assert len(union) == 151  # open stores show what their handles see
        union.refresh()
        assert len(union) == 156
        with live.transaction():
            live["t"].append(rows(2))
            assert len(union) == 158 and union["a"][-1] == 1
        (tmp_path / "part-001.kist").unlink()
        assert union["a"][60] == 55  # still open here
    with pytest.raises(StoreClosedError):
        len(union)


def test_files_that_make_no_union_are_refused_and_closed(tmp_path: Path) -> None:
    names = files(tmp_path)
    with kist.open(tmp_path / "other.kist", "w") as store:
        store["t"] = rows(1)[["a", "b"]]
        store.create_keystore("x")
    wrong: list[tuple[type[Exception], Any, str | None]] = [
        (kist.StoreNotFoundError, tmp_path / "none-*.kist", "t"),
        (kist.StoreNotFoundError, [names[0], tmp_path / "gone.kist"], "t"),
        (DTypeError, [names[0], tmp_path / "other.kist"], "t"),
        (SelectionError, [tmp_path / "other.kist"], "x"),
        (kist.NodeError, [tmp_path / "other.kist"], None),
        (SelectionError, [], None),
    ]
    for kind, sources, path in wrong:
        with pytest.raises(kind):
            kist.union(sources, path)


def test_unions_are_pickled_with_the_commit_they_show(tmp_path: Path) -> None:
    names = files(tmp_path)
    kist.merge(names[:1], tmp_path / "one.kist")
    with kist.open(tmp_path / "one.kist", "r+") as store, kist.union(names, "t") as union:
        again = pickle.loads(pickle.dumps(union))
        assert np.array_equal(again[:], union[:])
        alone = store.union("t*")
        store.tag("kept")
        again = pickle.loads(pickle.dumps(alone))
        store["t"].append(rows(1))
        assert len(alone) == 51 and len(again) == 50
