"""Tables split into files and merged again: what is in them, what is decoded, what is left."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from table_programs import rows_of, small_groups

import kist
from kist.engine import pages
from kist.errors import (
    ColumnNotFoundError,
    ConflictError,
    ConstraintError,
    CorruptDataError,
    DTypeError,
    KistError,
    NodeError,
    NodeExistsError,
    SelectionError,
    StoreExistsError,
    StoreNotFoundError,
    TooLargeError,
    UnsupportedVersionError,
)
from kist.format import keys
from kist.format.values import pack_record
from kist.model.parts.origin import Origin

Array = np.ndarray[Any, Any]
GROUP = 65_536


@pytest.fixture
def groups() -> Iterator[None]:
    with small_groups():
        yield


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Byte of each page of which something is decoded."""
    found: list[int] = []
    original = pages._decode_verified

    def counted(pointer: Any, *rest: Any) -> None:
        found.append(pointer.offset)
        original(pointer, *rest)

    monkeypatch.setattr(pages, "_decode_verified", counted)
    return found


def rows(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    out = np.zeros(n, [("t", "i8"), ("x", "f8"), ("s", "S4")])
    out["t"], out["x"] = np.arange(n), rng.normal(size=n)
    out["s"] = rng.choice([b"aa", b"bb", b"cc"], n)
    return out


def make(path: Path, data: Any, name: str = "t") -> str:
    with kist.open(path, "w") as store:
        store[name] = data
    return str(path)


def read(name: str | Path, path: str = "t") -> Array:
    with kist.open(name) as store:
        assert store.check().ok, store.check()
        return store[path][:]


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_is_decoded_where_cuts_stand_between_row_groups(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    data = rows(4 * GROUP)
    make(path, data)
    decoded.clear()
    names = kist.split(path, "t", rows=2 * GROUP, out=tmp_path / "p-{}.kist")
    kist.merge(names, tmp_path / "whole.kist")
    assert decoded == []
    assert np.array_equal(read(tmp_path / "whole.kist"), data)
    assert np.array_equal(read(names[1]), data[2 * GROUP :])


def test_a_cut_decodes_the_row_groups_that_it_goes_through_and_no_other(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    data = rows(4 * GROUP)
    make(path, data)
    decoded.clear()
    names = kist.split(path, "t", at=[GROUP + 100], out=tmp_path / "p-{}.kist")
    assert len(set(decoded)) == 3  # a page of each column of one group
    assert np.array_equal(np.concatenate([read(name) for name in names]), data)


def test_parts_are_cut_between_row_groups_that_are_near(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    make(path, rows(6 * GROUP - 1000))
    decoded.clear()
    names = kist.split(path, "t", parts=2, out=tmp_path / "p-{}.kist")
    assert decoded == []
    assert [len(read(name)) for name in names] == [3 * GROUP, 3 * GROUP - 1000]


def rich(store: kist.Store, n: int = 300) -> Any:
    """A table with all that a table can have beside rows."""
    t = store.create_table("a/t", rows(n), title="rows", attrs={"k": [1, 2], "long": "x" * 9000})
    t["x"].attrs["unit"] = "mm"
    t.add_column("y", dtype="i4", fill_value=7)
    t.append(list(zip(range(n, n + 90), np.ones(90), [b"dd"] * 90, range(90), strict=True)))
    t.add_column("z", t["x"] * 2)
    t.add_column("w", kist.expr("x + y"), virtual=True)
    t.add_column("n", dtype=kist.nullable("i4"), fill_value=None)
    t.add_column("name", dtype=np.dtypes.StringDType(), fill_value="nobody")
    t.drop_column("s")
    t["n"][5:50] = np.arange(45)
    t["name"][7:99] = [f"name {i}" for i in range(92)]
    t.where("t % 7 == 0").update({"y": 70})
    t.where("(t > 120) & (t < 140)").delete()
    t.create_index("t", unique=True)
    t.create_index("y", "t", name="both")
    return t


def same_tables(a: Any, b: Any) -> None:
    from kist.model.comparing import compare

    assert list(compare(a, b)) == []
    assert [(i.name, i.columns, i.unique) for i in a.indexes] == [
        (i.name, i.columns, i.unique) for i in b.indexes
    ]
    assert a.schema == b.schema if hasattr(a, "schema") else True


def test_the_history_of_a_part_names_the_source_and_not_where_it_lies(tmp_path: Path) -> None:
    source = make(tmp_path / "a.kist", rows(100))
    (part,) = kist.split(source, "t", parts=1, out=tmp_path / "p.kist")
    with kist.open(part) as store:
        assert next(iter(store.history())).message == "split from a.kist"
    assert str(tmp_path).encode() not in Path(part).read_bytes()


@pytest.mark.parametrize("how", [{"rows": 100}, {"parts": 3}, {"at": [1, 64, 129]}, {"parts": 1}])
def test_attributes_columns_and_indexes_of_every_sort_go_along(
    path: Path, tmp_path: Path, how: dict[str, Any], groups: None
) -> None:
    with kist.open(path, "w") as store:
        t = rich(store)
        names = kist.split(t, out=tmp_path / "p", **how)
        kist.merge(names, tmp_path / "whole.kist")
        with kist.open(tmp_path / "whole.kist") as whole:
            assert whole.check().ok
            same_tables(t, whole["a/t"])
            assert len(whole["a/t"].where("t == 77")) == 1
        at = 0
        for name in names:
            with kist.open(name) as part:
                assert part.check().ok
                found = part["a/t"]
                assert found.title == "rows" and found["x"].attrs["unit"] == "mm"
                assert found["n"][:].tolist() == t["n"][at : at + len(found)].tolist()
                assert found["w"][:].tolist() == t["w"][at : at + len(found)].tolist()
                assert found["name"][:].tolist() == t["name"][at : at + len(found)].tolist()
                at += len(found)
        assert at == len(t)


@hypothesis.settings(max_examples=10)
@hypothesis.given(data=st.data())
def test_any_cuts_of_any_table_merge_to_the_table(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    dtype = np.dtype([("a", "i4"), ("b", "f8", (2,)), ("c", [("d", "S3"), ("e", "<M8[s]")])])
    with small_groups(), kist.open(folder / "t.kist", "w") as store:
        t = store.create_table("t", dtype=dtype)
        for seed in range(data.draw(st.integers(1, 4))):
            t.append(rows_of(dtype, data.draw(st.sampled_from([1, 15, 64, 150])), seed))
        n = len(t)
        if data.draw(st.booleans()):
            t.delete(slice(0, n, data.draw(st.integers(2, 9))))
        if data.draw(st.booleans()) and len(t):
            t["a"][:: data.draw(st.integers(1, 30))] = 5
        if data.draw(st.booleans()):
            t.add_column("f", dtype="u1", fill_value=3)
            t.append(t[:20])
        cuts = data.draw(st.sets(st.integers(1, max(1, len(t) - 1)), max_size=4))
        cuts = sorted(cut for cut in cuts if cut < len(t))
        names = kist.split(t, at=cuts, out=folder / "p-{}.kist")
        kist.merge(names, folder / "whole.kist")
        with kist.open(folder / "whole.kist") as whole:
            assert whole.check().ok, whole.check()
            same_tables(t, whole["t"])
            more = t[:30]
            with kist.open(folder / "whole.kist", "r+") as again:
                again["t"].append(more)
                assert again.check().ok
                assert again["t"][-len(more) :].tobytes() == more.tobytes() or not len(more)


@pytest.mark.parametrize("by", ["s", "k", "x", "n", "name", "t"])
def test_each_value_of_a_column_has_its_part(
    path: Path, tmp_path: Path, by: str, groups: None
) -> None:
    data = rows(300)
    data["x"] = np.where(data["t"] % 5 == 0, np.nan, data["t"] % 3)
    with kist.open(path, "w") as store:
        store["t"] = data
        t = store["t"]
        t.add_column("k", np.sort(np.arange(300) // 100).astype("i2"))  # clustered
        t.add_column("n", np.ma.MaskedArray(np.arange(300) % 3, np.arange(300) % 4 == 0))
        t.add_column("name", np.array(["", "A", "a"], np.dtypes.StringDType())[data["t"] % 3])
        if by == "t":
            t.add_column("d", np.arange(300).astype("M8[D]"))
            by = "d"
            t.truncate(34)
        names = kist.split(t, by=by, out=tmp_path / "p")
        found = []
        for name in names:
            with kist.open(name) as part:
                assert part.check().ok
                values = part["t"][by][:]
                distinct = {str(value) for value in values.tolist()}
                assert len(distinct) == 1
                found.append(part["t"]["t"][:])
        wanted = t[by][:]
        assert len(found) == len({str(value) for value in wanted.tolist()})
        everything = np.concatenate(found)
        assert sorted(everything.tolist()) == list(range(len(t)))
        assert all((np.diff(part) > 0).all() for part in found)  # in their order
        kist.merge(names, tmp_path / "whole.kist")
    assert len(read(tmp_path / "whole.kist")) == len(everything)
    assert len({name.lower() for name in names}) == len(names)


def test_row_groups_of_one_value_are_not_decoded_when_split_by_it(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    data = rows(3 * GROUP)
    data["s"] = np.repeat([b"aa", b"bb", b"cc"], GROUP)
    make(path, data)
    decoded.clear()
    names = kist.split(path, "t", by="s", out=tmp_path / "p-{}.kist")
    assert len(set(decoded)) <= 3  # the column itself
    assert [Path(name).name for name in names] == ["p-aa.kist", "p-bb.kist", "p-cc.kist"]
    assert np.array_equal(read(names[2]), data[2 * GROUP :])


def test_stores_of_several_datasets_merge_by_path(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 100)):
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store.attrs["of"] = name
            store["g/t"] = rows(10 + first)
            store["g"].attrs["of"] = name
            store[f"only/{name}"] = rows(3)
    kist.merge([tmp_path / "a.kist", tmp_path / "b.kist"], tmp_path / "c.kist")
    with kist.open(tmp_path / "c.kist") as store:
        assert store.attrs["of"] == "a" == store["g"].attrs["of"]
        assert len(store["g/t"]) == 120 and list(store["only"]) == ["a", "b"]
    kist.merge([tmp_path / "a.kist", tmp_path / "b.kist"], tmp_path / "d.kist", "g/t")
    with kist.open(tmp_path / "d.kist") as store:
        assert list(store["g"]) == ["t"] and "only" not in store


def test_tables_of_one_store_merge_into_another(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "w") as store:
        store["day/1"], store["day/2"] = rows(5), rows(7)
        kist.merge([store["day/1"], store["day/2"]], tmp_path / "all.kist", "days")
    assert len(read(tmp_path / "all.kist", "days")) == 12


def test_columns_in_another_order_and_with_other_ids_are_copied_as_bytes(
    tmp_path: Path, decoded: list[int]
) -> None:
    first, second = rows(2 * GROUP), rows(2 * GROUP, 1)
    make(tmp_path / "a.kist", first)
    with kist.open(tmp_path / "b.kist", "w") as store:
        store["t"] = second[["s", "t"]]
        store["t"].add_column("x", second["x"])
    decoded.clear()
    kist.merge([tmp_path / "a.kist", tmp_path / "b.kist"], tmp_path / "c.kist")
    assert decoded == []
    assert np.array_equal(read(tmp_path / "c.kist"), np.concatenate([first, second]))


def test_other_schemas_are_shown_and_cast_when_asked(tmp_path: Path) -> None:
    make(tmp_path / "a.kist", rows(5))
    other = np.zeros(3, [("x", "f4"), ("t", "i2"), ("s", "S2")])
    other["t"] = 300
    make(tmp_path / "b.kist", other)
    files = [tmp_path / "a.kist", tmp_path / "b.kist"]
    with pytest.raises(DTypeError, match=r"(?s)~ t: int64 -> int16.*~ x.*--cast"):
        kist.merge(files, tmp_path / "c.kist")
    kist.merge([*files, files[0]], tmp_path / "c.kist", cast=True)
    assert read(tmp_path / "c.kist")["t"].tolist() == [0, 1, 2, 3, 4, 300, 300, 300, 0, 1, 2, 3, 4]
    with pytest.raises(DTypeError):  # 300 in a byte
        make(tmp_path / "d.kist", rows(5).astype([("t", "u1"), ("x", "f8"), ("s", "S4")]))
        kist.merge([tmp_path / "d.kist", files[1]], tmp_path / "e.kist", cast=True)
    assert not (tmp_path / "e.kist").exists()


def test_parts_that_overlap_or_vanished_are_refused(path: Path, tmp_path: Path) -> None:
    make(path, rows(100))
    names = kist.split(path, "t", rows=50, out=tmp_path / "p-{}.kist")
    other = kist.split(path, "t", rows=60, out=tmp_path / "q-{}.kist")
    left = files_of(tmp_path)
    for wrong in ([*names, names[0]], [names[0], other[0]], [other[1], *names]):
        with pytest.raises(ConstraintError, match=r"the same would come twice"):
            kist.merge(wrong, tmp_path / "whole.kist")
    with pytest.raises(StoreNotFoundError, match=r"gone\.kist"):
        kist.merge([names[0], tmp_path / "gone.kist"], tmp_path / "whole.kist")
    assert files_of(tmp_path) == left
    kist.merge([names[1], other[0]][:1] + names[:1], tmp_path / "whole.kist")
    for name, is_part in ((names[0], True), (tmp_path / "whole.kist", False)):
        with kist.open(name) as store:
            origin = Origin.of(store._session.view(), store["t"]._id)
            assert (origin is not None) == is_part


def test_what_is_noted_of_a_frame_goes_along(path: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": np.arange(90.0)}, index=pandas.RangeIndex(5, 95, name="id"))
    with kist.open(path, "w") as store:
        store["t"] = frame
    names = kist.split(path, "t", rows=50, out=tmp_path / "p-{}.kist")
    kist.merge(names, tmp_path / "whole.kist")
    for name, first, last in (
        (names[0], 5, 54),
        (names[1], 55, 94),
        (tmp_path / "whole.kist", 5, 94),
    ):
        with kist.open(name) as store:
            found = store["t"].to_pandas()
            assert found.index.name == "id" and list(found.columns) == ["x"]
            assert (found.index[0], found.index[-1]) == (first, last)
    # Rows that did not follow each other have no labels that count.
    frame["k"] = frame.index % 3
    with kist.open(path, "w") as store:
        store["t"] = frame
    for name in kist.split(path, "t", by="k", out=tmp_path / "q-{}.kist"):
        with kist.open(name) as store:
            found = store["t"].to_pandas()
            assert found.index.name == "id" and found.index.tolist() == list(range(30))


def test_records_of_a_kind_that_is_not_known_are_not_left_behind(
    path: Path, tmp_path: Path
) -> None:
    make(path, rows(100))
    make(tmp_path / "other.kist", rows(100))
    with kist.open(path, "r+") as store, store._write() as txn:
        prefix = keys.node(store["t"]._id)[:8]
        txn.put(prefix + b"Q" + bytes(8), pack_record(b"of a newer kist"))
    left = files_of(tmp_path)
    with pytest.raises(UnsupportedVersionError, match=r"kind 'Q'.*copy\(\) takes the whole"):
        kist.split(path, "t", rows=50, out=tmp_path / "p-{}.kist")
    with pytest.raises(UnsupportedVersionError, match="kind 'Q'"):
        kist.merge([tmp_path / "other.kist", path], tmp_path / "whole.kist")
    assert files_of(tmp_path) == left


def test_rows_that_break_a_unique_index_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["t"] = rows(5)
            store["t"].create_index("t", unique=True)
    with pytest.raises(ConstraintError):
        kist.merge([tmp_path / "a.kist", tmp_path / "b.kist"], tmp_path / "c.kist")
    assert files_of(tmp_path) == ["a.kist", "b.kist"]


def test_what_cannot_be_split_is_said_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "w") as store:
        store["t"], store["g/u"] = rows(10), rows(1)
        store["b"] = np.zeros(3, [("sub", "f4", 2)])
    wrong: list[tuple[type[KistError], dict[str, Any]]] = [
        (SelectionError, {}),
        (SelectionError, {"rows": 5, "parts": 2}),
        (SelectionError, {"rows": 0}),
        (SelectionError, {"rows": 2.5}),
        (SelectionError, {"parts": 11}),
        (SelectionError, {"at": [10]}),
        (SelectionError, {"at": [0]}),
        (SelectionError, {"at": [5, 5]}),
        (SelectionError, {"at": [7, 3]}),
        (SelectionError, {"at": ["x"]}),
        (ColumnNotFoundError, {"by": "nope"}),
    ]
    out = tmp_path / "new" / "folder"
    for kind, how in wrong:
        with pytest.raises(kind):
            kist.split(path, "t", out=out, **how)
    for kind, name in ((NodeError, "g"), (NodeError, None), (NodeError, "none")):
        with pytest.raises(kind):
            kist.split(path, name, rows=1, out=out)
    with pytest.raises(DTypeError):
        kist.split(path, "b", by="sub", out=out)
    assert files_of(tmp_path) == ["t.kist"]


def test_too_many_parts_are_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kist.model.parts import bycolumn, plan

    make(path, rows(10))
    monkeypatch.setattr(plan, "MAX_PARTS", 4)
    monkeypatch.setattr(bycolumn, "MAX_VALUES", 4)
    for how in ({"rows": 2}, {"parts": 5}, {"at": [1, 2, 3, 4]}, {"by": "t"}):
        with pytest.raises(TooLargeError):
            kist.split(path, "t", out=tmp_path / "p", **how)  # type: ignore[arg-type]
    assert files_of(tmp_path) == ["t.kist"]


def test_files_that_are_there_stay_unless_told_otherwise(path: Path, tmp_path: Path) -> None:
    make(path, rows(10))
    taken = tmp_path / "t-t-0002.kist"
    taken.write_text("mine")
    with pytest.raises(StoreExistsError, match=r"0002"):
        kist.split(path, "t", parts=2)
    assert taken.read_text() == "mine" and len(files_of(tmp_path)) == 2
    names = kist.split(path, "t", parts=2, overwrite=True)
    assert len(read(names[1])) == 5
    with pytest.raises(StoreExistsError):
        kist.merge(names, names[0])
    with pytest.raises(SelectionError, match="one of the sources"):
        kist.merge(names, names[0], overwrite=True)
    kist.merge(names, path, overwrite=True)
    assert len(read(path)) == 10


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_names_that_the_system_refuses_leave_no_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    make(path, rows(100))

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "the device is broken")

    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(f"kist.storage.names.os.{call}", refuse)
        with pytest.raises(kist.StorageError, match="the device is broken") as caught:
            kist.split(path, "t", parts=2, out=tmp_path / "p-{}.kist")
    assert caught.value.errno == errno.EIO
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("by", [None, "s"])
def test_nothing_is_left_of_what_is_interrupted(
    path: Path, tmp_path: Path, error: type[BaseException], by: str | None
) -> None:
    data = rows(3 * GROUP)
    data["s"] = np.repeat([b"aa", b"bb", b"cc"], GROUP)
    make(path, data)
    calls = []

    def stop(done: int, total: int) -> None:
        assert 0 < done <= total
        calls.append(done)
        if len(calls) == 2:
            raise error

    with pytest.raises(error):
        how: dict[str, Any] = {"by": by} if by else {"rows": GROUP}
        kist.split(path, "t", out=tmp_path / "p", progress=stop, **how)
    assert files_of(tmp_path) == ["t.kist"]
    names = kist.split(path, "t", rows=GROUP, out=tmp_path / "p")
    left, calls[:] = files_of(tmp_path), [0]
    with pytest.raises(error):
        kist.merge(names, tmp_path / "whole.kist", progress=stop)
    assert files_of(tmp_path) == left


def test_damage_on_the_way_is_noticed(path: Path, tmp_path: Path) -> None:
    make(path, rows(2 * GROUP))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"NPAG") + 5_000
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError):
        kist.split(path, "t", parts=2, out=tmp_path / "p")
    with pytest.raises(CorruptDataError):
        kist.merge([path], tmp_path / "whole.kist")
    assert files_of(tmp_path) == ["t.kist"]


def test_a_source_that_changes_meanwhile_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kist.model.parts import merge

    names = [make(tmp_path / f"{name}.kist", rows(5)) for name in "ab"]
    monkeypatch.setattr(merge, "_OPEN", 1)
    original = merge._check_parts

    def changed(*arguments: Any) -> None:
        original(*arguments)
        with kist.open(names[0], "r+") as store:
            store["t"].append(rows(1))

    monkeypatch.setattr(merge, "_check_parts", changed)
    with pytest.raises(ConflictError, match=r"a\.kist"):
        kist.merge(names, tmp_path / "c.kist")
    assert files_of(tmp_path) == ["a.kist", "b.kist"]


def test_a_dataset_and_a_group_of_one_name_do_not_merge(tmp_path: Path) -> None:
    make(tmp_path / "a.kist", rows(1))
    make(tmp_path / "b.kist", rows(1), "t/u")
    with pytest.raises(NodeExistsError, match=r"table in .*a\.kist.* group in .*b\.kist"):
        kist.merge([tmp_path / "a.kist", tmp_path / "b.kist"], tmp_path / "c.kist")


def test_memory_stays_bounded(path: Path, tmp_path: Path) -> None:
    n = 12 * GROUP
    data = np.zeros(n, [(f"c{i}", "f8") for i in range(16)])
    for name in data.dtype.names or ():
        data[name] = np.random.default_rng(1).normal(size=n)
    make(path, data)
    del data
    tracemalloc.start()
    try:
        names = kist.split(path, "t", rows=n // 3, out=tmp_path / "p")
        kist.merge(names, tmp_path / "whole.kist")
        assert tracemalloc.get_traced_memory()[1] < 60 << 20  # of 100 MB
    finally:
        tracemalloc.stop()
