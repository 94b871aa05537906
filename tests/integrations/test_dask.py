"""Collections of Dask and plain futures: parts are read and written by workers, all or nothing."""

from __future__ import annotations

import gc
import multiprocessing
import operator
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import (
    DTypeError,
    SelectionError,
    StaleHandleError,
    StorageError,
    StoreExistsError,
    TransactionError,
)
from kist.integrations import parts

pytest.importorskip("dask.dataframe")
import dask.array as da
import dask.dataframe as dd

N = 200_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with kist.open(tmp_path / "lab.kist", "w") as store:
        store["t"] = np.rec.fromarrays(
            [np.arange(N), np.arange(N) / 3, np.arange(N) % 7], names="id,price,kind"
        )
        store["x"] = np.arange(3000).reshape(100, 30)
    return tmp_path / "lab.kist"


def test_a_table_is_read_part_by_part(path: Path) -> None:
    with kist.open(path) as store:
        frame = store["t"].to_dask(rows=70_000)
        assert frame.npartitions > 1
        assert list(frame.columns) == ["id", "price", "kind"]
        found = frame.compute(scheduler="sync")
        # Dask does not number rows through all parts.
        assert found.reset_index(drop=True).equals(store["t"].to_pandas())


def test_parts_in_which_no_row_can_be_are_left_out(path: Path) -> None:
    with kist.open(path) as store:
        hits = store["t"].where("id >= limit", limit=N - 10)
        assert len(hits.partitions(70_000)) == 1
        assert hits.to_dask().compute(scheduler="sync").id.tolist() == list(range(N - 10, N))
        # Of the last rows, which are no row group yet, nothing is known.
        assert len(store["t"].where("id < 0").partitions()) <= 1
        assert len(store["t"].where("id < 0").to_dask()) == 0
        with pytest.raises(SelectionError, match="have parts"):
            store["t"].sort_by("price").to_dask()
        with pytest.raises(ValueError, match="at least 1 row"):
            store["t"].partitions(0)


def test_parts_together_are_all_rows(path: Path) -> None:
    with kist.open(path) as store:
        for source in (store["t"], store["t"].where("kind == 3")):
            parts = source.partitions(30_000)
            assert max(map(len, parts)) <= 30_000
            assert (np.concatenate([p[:] for p in parts]) == source[:]).all()


def test_columns_are_read_part_by_part_too(path: Path) -> None:
    with kist.open(path) as store:
        price = store["t"]["price"].to_dask(rows=70_000)
        assert price.npartitions > 1
        assert (price.compute(scheduler="sync").to_numpy() == np.arange(N) / 3).all()
        two = store["t"][["kind", "id"]].to_dask(rows=70_000)
        assert list(two.columns) == ["kind", "id"]
        assert (two.compute(scheduler="sync").id.to_numpy() == np.arange(N)).all()


def test_columns_that_are_not_used_are_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    true = kist.Selection.to_pandas
    with kist.open(path) as store:
        frame = store["t"].to_dask()

        def noted(self: Any, columns: Any = None) -> Any:
            asked.append(columns)
            return true(self, columns)

        monkeypatch.setattr(kist.Selection, "to_pandas", noted)
        assert frame["kind"].sum().compute(scheduler="sync") == (np.arange(N) % 7).sum()
    assert asked
    assert all(columns == ["kind"] for columns in asked)


def test_an_array_is_read_chunk_by_chunk(path: Path) -> None:
    with kist.open(path) as store:
        array = store["x"].to_dask(chunks=(40, 30))
        assert array.chunks == ((40, 40, 20), (30,))
        assert (array[35:90, ::2] * 2).sum().compute(scheduler="sync") == (
            np.arange(3000).reshape(100, 30)[35:90, ::2] * 2
        ).sum()


def test_a_graph_keeps_its_version_and_lets_it_go(path: Path) -> None:
    with kist.open(path, "r+") as store:
        frame = store["t"].to_dask()
        (tag,) = store.tags
        assert tag.startswith("dask-")
        store["t"].where("id >= 0").delete()
        store.compact()
        doubled = frame.price * 2
        del frame
        gc.collect()
        assert list(store.tags) == [tag]
        assert len(doubled.compute(scheduler="sync")) == N
        del doubled
        gc.collect()
        assert list(store.tags) == []


def test_a_read_only_handle_tags_its_version_as_well(path: Path) -> None:
    with kist.open(path) as reader, kist.open(path, "r+") as store:
        array = reader["x"].to_dask()
        assert len(store.tags) == 1
        del array
        gc.collect()
        assert list(store.tags) == []


def test_a_store_in_memory_is_refused() -> None:
    with kist.open(":memory:") as store:
        store["x"] = np.arange(3)
        with pytest.raises(TransactionError, match="use a file"):
            store["x"].to_dask()


# Writing


def test_a_frame_is_written_as_one_table(path: Path) -> None:
    out = path.with_name("out.kist")
    with kist.open(path) as store:
        frame = store["t"].to_dask(rows=50_000)
        kist.from_dask(frame.assign(half=frame.price / 2), out, "new/t", scheduler="threads")
        with kist.open(out) as made:
            assert (made["new/t"]["half"][:] == np.arange(N) / 3 / 2).all()
            assert made.check().ok
    assert sorted(p.name for p in path.parent.iterdir()) == ["lab.kist", "out.kist"]


def test_an_array_is_written_in_rows(tmp_path: Path) -> None:
    values = np.arange(240).reshape(12, 20)
    kist.from_dask(da.from_array(values, chunks=(5, 7)), tmp_path / "a.kist", "x")
    with kist.open(tmp_path / "a.kist") as store:
        assert (store["x"][:] == values).all()


def fail_on_three(n: int) -> Any:
    if n == 3:
        raise ZeroDivisionError("three")
    return np.full(n, n)


def test_when_a_part_fails_nothing_is_left(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError, match="three"):
        kist.write_parts(fail_on_three, [1, 2, 3, 4], tmp_path / "a.kist", "x", executor=pool)
    blocks = da.arange(8, chunks=2).map_blocks(lambda block: block // (block[0] - 4), dtype=int)
    with pytest.raises(FloatingPointError), np.errstate(all="raise"):
        kist.from_dask(blocks, tmp_path / "a.kist", "x", scheduler="sync")
    assert list(tmp_path.iterdir()) == []


def test_parts_of_unequal_dtypes_are_refused_whole(tmp_path: Path) -> None:
    rows = [np.zeros(2, [("a", "i4")]), np.zeros(2, [("a", "f8")])]
    with ThreadPoolExecutor(2) as pool, pytest.raises(DTypeError):
        kist.write_parts(rows.__getitem__, [0, 1], tmp_path / "a.kist", "t", executor=pool)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_replaced_unasked(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        kist.from_dask(da.arange(3), path, "x")
    assert path.read_bytes() == before
    kist.from_dask(da.arange(3), path, "x", overwrite=True)
    with kist.open(path) as store:
        assert store["x"][:].tolist() == [0, 1, 2]


def test_other_things_are_no_collections(tmp_path: Path) -> None:
    for what in (np.arange(3), "x", da.arange(3).sum()):
        with pytest.raises(TypeError):
            kist.from_dask(what, tmp_path / "a.kist", "x")
    with pytest.raises(ValueError, match="one item"):
        kist.write_parts(np.arange, [], tmp_path / "a.kist", "x")
    assert list(tmp_path.iterdir()) == []


DYING = """
import os

import numpy as np


def part(item):
    number, note = item
    if number == 2:
        try:
            os.close(os.open(note, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return np.full(3, number)
        os._exit(9)
    return np.full(3, number)
"""


def test_a_worker_that_dies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A module of its own: processes that are started anew must find it.
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "kist_dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path / "code")
    import kist_dying  # type: ignore[import-not-found]

    note = tmp_path / "died"
    items = [(n, str(note)) for n in range(5)]
    kist.write_parts(kist_dying.part, items, tmp_path / "a.kist", "x", workers=2)
    with kist.open(tmp_path / "a.kist") as store:
        assert store["x"][:].tolist() == np.repeat(np.arange(5), 3).tolist()
    assert note.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist", "code", "died"]


def dies(n: int) -> Any:
    if n == 2:
        raise BrokenProcessPool("a process in the pool was terminated abruptly")
    return np.full(n, n)


@pytest.mark.parametrize("linked", [False, True])
def test_workers_that_die_for_good_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    items, out = [1, 2, 3], tmp_path / "a.kist"
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(StorageError, match=r"died after 1 of 3 parts.*without executor="),
    ):
        kist.write_parts(dies, items, out, "x", executor=pool, linked=linked)
    monkeypatch.setattr(parts, "ProcessPoolExecutor", lambda *given: ThreadPoolExecutor(1))
    with pytest.raises(StorageError, match=r"died 3 times, with \d of 3 parts left"):
        kist.write_parts(dies, items, out, "x", linked=linked)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_of_processes_that_is_given_reads_and_writes_parts(path: Path) -> None:
    out = path.with_name("out.kist")
    with (
        kist.open(path) as store,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        # What each gets is a handle of its rows; what it returns, those rows.
        pieces = store["t"].where("kind == 5").partitions(rows=100_000)
        assert len(pieces) > 1
        kist.write_parts(operator.itemgetter(slice(None)), pieces, out, "t", executor=pool)
    with kist.open(out) as made:
        assert (made["t"]["id"][:] == np.flatnonzero(np.arange(N) % 7 == 5)).all()


def test_what_stands_behind_a_server_is_read_by_workers(path: Path) -> None:
    pytest.importorskip("obstore")
    from kist.testing.range_server import RangeServer

    with (
        RangeServer({"/lab.kist": path.read_bytes()}) as server,
        kist.open(server.url("/lab.kist")) as store,
    ):
        late = store["t"].where("id >= limit", limit=N - 10).to_dask()
        assert late.npartitions == 1
        server.forget()
        frame = store["t"].to_dask(rows=10_000)
        assert frame.npartitions >= 20
        assert server.requests == [], "each part was opened for its name"
        assert late.id.sum().compute(scheduler="threads") == sum(range(N - 10, N))
        assert store["x"].to_dask(chunks=(40, -1)).sum().compute(scheduler="sync") == 4498500
        server.files.clear()
        with pytest.raises(StaleHandleError, match="open it again"):
            frame.price.sum().compute(scheduler="sync")


def test_parts_are_linked_instead_of_merged(path: Path) -> None:
    out, arrays = path.with_name("out.kist"), path.with_name("arrays.kist")
    with kist.open(path) as store:
        frame = store["t"].to_dask(rows=50_000)
        kist.from_dask(frame[frame.kind == 2], out, "new/t", linked=True, scheduler="threads")
        kist.from_dask(store["x"].to_dask(chunks=(40, -1)), arrays, "x", linked=True)
    (folder,) = path.parent.glob("out.kist.*.parts")
    names = [f"0000{n}.kist" for n in range(1, len(list(folder.iterdir())) + 1)]
    assert sorted(p.name for p in folder.iterdir()) == names and len(names) > 1
    with kist.open(out) as made, kist.open(arrays) as other:
        assert isinstance(made["new/t"], kist.LinkedTable) and made["new/t"].n_open == 0
        assert (made["new/t"]["id"][:] == np.flatnonzero(np.arange(N) % 7 == 2)).all()
        assert isinstance(other["x"], kist.LinkedArrays) and len(other["x"].files) == 3
        assert (other["x"][:] == np.arange(3000).reshape(100, 30)).all()
    moved = path.parent / "moved"
    moved.mkdir()
    out.rename(moved / out.name)
    folder.rename(moved / folder.name)
    with kist.open(moved / out.name) as made:
        assert made["new/t"].where("id == 2").count() == 1


def test_a_worker_that_dies_leaves_nothing_among_linked_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = parts.write_part

    def twice(data: Any, folder: str, path: str, lasts: bool) -> str:
        assert lasts
        written(data, folder, path, lasts)  # and then it dies before it can say so
        return written(data, folder, path, lasts)

    monkeypatch.setattr(parts, "write_part", twice)
    with ThreadPoolExecutor(2) as pool:
        kist.write_parts(np.arange, [3, 2], tmp_path / "a.kist", "n", executor=pool, linked=True)
    (folder,) = tmp_path.glob("*.parts")
    assert sorted(p.name for p in folder.iterdir()) == ["00001.kist", "00002.kist"]
    with kist.open(tmp_path / "a.kist") as store:
        assert store["n"][:].tolist() == [0, 1, 2, 0, 1]


def test_when_linking_fails_nothing_is_left(tmp_path: Path) -> None:
    def part(n: int) -> np.ndarray[Any, Any]:
        return np.zeros(2, "i4" if n else "f8")

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(DTypeError):
            kist.write_parts(part, [0, 1], tmp_path / "a.kist", "n", executor=pool, linked=True)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "a.kist").write_bytes(b"mine")
        with pytest.raises(StoreExistsError):
            kist.write_parts(part, [0], tmp_path / "a.kist", "n", executor=pool, linked=True)
        assert (tmp_path / "a.kist").read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1


def names_given(
    patch: pytest.MonkeyPatch, out: Path, before: Callable[[], None], after: Callable[[], None]
) -> None:
    """Have functions called around the step that gives a new store its name."""

    def around(real: Callable[..., None]) -> Callable[..., None]:
        def given(a: Any, b: Any, **keywords: Any) -> None:
            its_name = os.path.abspath(b) == str(out) and not str(a).endswith(".old")
            if its_name:
                before()
            real(a, b, **keywords)
            if its_name:
                after()

        return given

    for step in ("link", "replace", "rename"):
        patch.setattr(os, step, around(getattr(os, step)))


@pytest.mark.parametrize("linked", [True, False])
def test_of_two_who_make_the_same_store_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    out = tmp_path / "out.kist"

    def make(n: int) -> None:
        with ThreadPoolExecutor(1) as pool:
            kist.write_parts(np.arange, [n, n], out, "n", executor=pool, linked=linked)

    def other_is_faster() -> None:
        patch.undo()
        make(3)

    with monkeypatch.context() as patch:
        names_given(patch, out, other_is_faster, lambda: None)
        with pytest.raises(StoreExistsError, match="exists"):
            make(5)
    with kist.open(out) as store:
        assert store["n"][:].tolist() == [0, 1, 2, 0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 1 + linked, "and nothing else is left"


def test_what_a_late_worker_takes_away_itself_does_not_hurt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [*listdir(folder), "gone.kist"])
    out = tmp_path / "out.kist"
    with ThreadPoolExecutor(1) as pool:
        kist.write_parts(np.arange, [2], out, "n", executor=pool, linked=True)
    assert kist.open(out)["n"][:].tolist() == [0, 1]


def test_an_interrupt_when_the_name_was_just_given_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.kist"

    def interrupt() -> None:
        raise KeyboardInterrupt

    def make(overwrite: bool) -> None:
        with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patch:
            names_given(patch, out, lambda: None, interrupt)
            with pytest.raises(KeyboardInterrupt):
                kist.write_parts(
                    np.arange, [2], out, "n", executor=pool, linked=True, overwrite=overwrite
                )

    make(overwrite=False)
    assert list(tmp_path.iterdir()) == []
    with kist.open(out, "w") as store:
        store["old"] = [1]
    make(overwrite=True)
    assert list(tmp_path.iterdir()) == [out]
    assert list(kist.open(out)) == ["old"]


def test_processes_of_distributed_read_and_write(path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    out = path.with_name("out.kist")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        kist.open(path) as store,
    ):
        frame = store["t"].to_dask(rows=100_000)
        kist.from_dask(frame[frame.kind == 3], out, "t")
        note, again = path.with_name("died"), path.with_name("again.kist")

        def once_dead(block: Any) -> Any:
            if block[0] == 2:
                try:
                    os.close(os.open(note, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return block * 2
                os._exit(9)  # as the kernel ends whoever takes too much memory
            return block * 2

        kist.from_dask(da.arange(8, chunks=2).map_blocks(once_dead, dtype=int), again, "x")
        assert note.exists()
    with kist.open(out) as made:
        assert (made["t"]["id"][:] == np.flatnonzero(np.arange(N) % 7 == 3)).all()
    with kist.open(again) as made:
        assert made["x"][:].tolist() == list(range(0, 16, 2))
    names = ["again.kist", "died", "lab.kist", "out.kist"]
    assert sorted(p.name for p in path.parent.iterdir()) == names


def test_frames_of_pandas_come_back(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.arange(30), "s": [f"x{i}" for i in range(30)]})
    kist.from_dask(dd.from_pandas(frame, npartitions=3), tmp_path / "a.kist", "t")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["s"][:].tolist() == frame.s.tolist()
        assert store["t"].to_dask().compute(scheduler="sync").a.tolist() == list(range(30))


def test_bytes_and_arrays_of_a_row_stay_what_they_are(tmp_path: Path) -> None:
    kinds = {"b": "S3", "pair": ("i2", (2,)), "r": kist.ragged("f4")}
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype=kinds)
        table.append([(b"a", [1, 2], [0.5]), (b"bc", [3, 4], [])])
        for source in (table, table.where("len(r) > 0"), table.where("len(r) > 0")["r"]):
            found = source.to_dask().compute(scheduler="sync")
            cells = found["r"] if hasattr(found, "columns") else found
            assert all(isinstance(cell, np.ndarray) for cell in cells), "text of an array"
        frame = table.to_dask().compute(scheduler="sync")
        assert frame.b.tolist() == [b"a", b"bc"]
        assert list(map(list, frame.pair)) == [[1, 2], [3, 4]]
        assert list(map(list, frame.r)) == [[0.5], []]


def test_unions_and_linked_files_are_read_by_workers(tmp_path: Path) -> None:
    whole = np.arange(60.0).reshape(20, 3)
    for number in range(4):
        with kist.open(tmp_path / f"part-{number}.kist", "w") as store:
            store["x"] = whole[5 * number : 5 * number + 5]
            store["t"] = np.array([(number, 1.5)], [("a", "i8"), ("b", "f8")])
    with kist.open(tmp_path / "all.kist", "w") as store:
        store["d/1"], store["d/2"] = np.zeros(3, "i4,f8"), np.ones(2, "i4,f8")
        store["y/1"], store["y/2"] = whole[:7], whole[7:]
        store.create_union("x", "x", files="part-*.kist")
        store.create_union("t", "t", files="part-*.kist")
        np.save(tmp_path / "n.npy", whole)
        store.create_array_link("n", "n.npy")
        tables = {
            "union": (store.union("d/*").to_dask().f0, 2),
            "condition": (store.union("d/*").where("f0 == 1").to_dask().f1, 2.0),
            "linked": (store["t"].to_dask().a, 6),
        }
        for name, (column, total) in tables.items():
            assert column.sum().compute(scheduler="sync") == total, name
        for array in (store.union("y/*"), store["x"], store["n"]):
            found = array.to_dask()
            assert np.array_equal(found.compute(scheduler="sync"), whole)
        assert store.union("y/*").to_dask(chunks={0: 4}).chunks[0] == (4,) * 5
        fixed = store.union("y/*").to_dask()
        store["y/2"][0] = 7
        assert np.array_equal(fixed.compute(scheduler="sync"), whole)
        del column, tables, found, array, fixed
    with kist.open(tmp_path / "all.kist", "r+") as store:
        frame = store.union("d/*").to_dask()
        store["d/3"] = np.full(1, 9, "i4,f8")
        assert len(frame) == 5 and any(tag.startswith("dask-") for tag in store.tags)
    with kist.union(str(tmp_path / "part-*.kist"), "t") as files:
        assert files.to_dask().a.sum().compute(scheduler="sync") == 6
    with kist.union(str(tmp_path / "part-*.kist"), "x") as files:
        again = pickle.loads(pickle.dumps(files))
        assert np.array_equal(again[:], whole)
        assert files.to_dask().sum().compute(scheduler="sync") == whole.sum()


def test_a_sealed_table_of_a_writable_store_is_read_on_threads(tmp_path: Path) -> None:
    key = bytes(range(32))
    with kist.open(tmp_path / "a.kist", "w", secrets=key) as store:
        store.create_table("t", np.ones(10, [("a", "i8"), ("b", "f8")]), encrypt={"b": key})
        assert store["t"].to_dask().b.sum().compute(scheduler="sync") == 10


@pytest.mark.parametrize("name", ["encrypt", "secrets", "codec", "dtype"])
def test_what_dask_would_swallow_is_refused(tmp_path: Path, name: str) -> None:
    kind: type[Exception] = kist.SecretError if name in ("encrypt", "secrets") else TypeError
    with pytest.raises(kind, match=rf"{name}="):
        kist.from_dask(da.arange(3), tmp_path / "a.kist", "x", **{name: "four random words"})
    assert not list(tmp_path.iterdir())
