"""What is whole is saved, what is missing is told, and nothing that was dropped comes back."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import keys, layout
from kist.format.values import Pointer, unpack_record

ROW = np.dtype([("a", "i8"), ("b", "f8"), ("s", "S6")])
N = 70_000


@pytest.fixture
def rows() -> Any:
    rng = np.random.default_rng(0)
    rows = np.zeros(N, ROW)
    rows["a"], rows["b"] = rng.integers(1, 1 << 60, N), rng.normal(size=N)
    rows["s"] = rng.integers(100, 999, N).astype("S6")
    return rows


@pytest.fixture
def broken(path: Path, rows: Any) -> Path:
    with kist.open(path, "x") as store:
        table: Any = store.create_table("g/t", rows, attrs={"unit": "V"}, title="readings")
        table["a"].attrs["about"] = "first"
        store.create_array("x", data=rows["b"].reshape(700, 100), chunks=(100, 100))
        runs = store.create_keystore("runs")
        runs.update({f"k{n}": n for n in range(40)})
        runs["large"] = rows["b"][:5000]
        store.create_table(
            "words", {"w": np.array(["a", "é" * 40] * 3000, np.dtypes.StringDType())}
        )
        store.tag("kept")
    return path


def records(path: Path, name: str, kind: bytes) -> list[tuple[bytes, Pointer]]:
    with kist.open(path) as store:
        node: Any = store[name]
        found = node._view().scan(*keys.whole_node(node._id))
        return [(k, p) for k, v in found if keys.kind_of(k) == kind for p in unpack_record(v)[0]]


def harm(path: Path, offset: int, n: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(n)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in data))


def body(pointer: Pointer) -> int:
    return pointer.offset + 128 + pointer.length // 2


def saved(path: Path) -> tuple[Any, Path]:
    """Salvage a file, which must stay as it is; the result must pass its check."""
    out = path.with_name("out.kist")
    before, when = path.read_bytes(), path.stat().st_mtime_ns
    report = kist.salvage(path, out)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == when
    with kist.open(out) as store:
        assert store.check().ok
    assert sorted(p.name for p in path.parent.iterdir()) == ["out.kist", path.name]
    return report, out


def test_a_whole_store_is_saved_whole(broken: Path, rows: Any) -> None:
    report, out = saved(broken)
    assert report.ok
    assert report.confirmed
    assert not report.losses
    with kist.open(broken) as old, kist.open(out) as new:
        assert list(new) == list(old)
        assert new["g/t"][:].tobytes() == rows.tobytes()
        assert dict(new["g/t"].attrs) == {"unit": "V", "TITLE": "readings"}
        assert new["g/t"]["a"].attrs["about"] == "first"
        assert np.array_equal(new["x"][...], old["x"][...])
        assert list(new["runs"].items())[:-1] == list(old["runs"].items())[:-1]
        assert np.array_equal(new["runs"]["large"], old["runs"]["large"])
        assert np.array_equal(new["words"][:]["w"], old["words"][:]["w"])
        assert report.commit == old.commit_id
    assert "'kept'" in repr(report)


@pytest.mark.parametrize("gone", [(0, 0x4000), (0x1000, 0x3000), (0, 0x1000)])
def test_header_and_slots_can_be_gone(broken: Path, rows: Any, gone: tuple[int, int]) -> None:
    harm(broken, gone[0], gone[1] - gone[0])
    report, out = saved(broken)
    assert report.ok
    with kist.open(out) as store:
        assert store["g/t"][:].tobytes() == rows.tobytes()
        # What was saved can be used on.
        with kist.open(out, "r+") as writable:
            writable["g/t"].append(rows[:5])
            writable["runs"]["k0"] = "new"
            assert len(writable["g/t"]) == N + 5


def test_the_root_of_the_directory_can_be_gone(broken: Path, rows: Any) -> None:
    with kist.open(broken) as store:
        root = store._view().state.root  # type: ignore[attr-defined]
    harm(broken, body(root))
    harm(broken, 0, 0x3000)
    report, out = saved(broken)
    assert report.ok
    with kist.open(out) as store:
        assert store["g/t"][:].tobytes() == rows.tobytes()


def test_a_damaged_page_leaves_zeros_in_its_column_and_rows(broken: Path, rows: Any) -> None:
    key, pointer = records(broken, "g/t", b"P")[1]
    assert keys.row_of(key) > 0
    start = keys.row_of(key)
    harm(broken, body(pointer))
    report, out = saved(broken)
    assert not report.ok
    (loss,) = report.losses
    assert (loss.node, loss.column, loss.rows) == ("/g/t", "a", (start, N))
    assert report.to_dict()["losses"][0]["rows"] == [start, N]
    with kist.open(out) as store:
        got = store["g/t"][:]
        assert all(got[name].tobytes() == rows[name].tobytes() for name in "bs")
        assert got["a"][:start].tobytes() == rows["a"][:start].tobytes()
        assert not got["a"][start:].any()
        assert f"rows {start:,} to {N - 1:,}" in store["g/t"].attrs["SALVAGE"][0]


@pytest.mark.parametrize("kind", [b"U", b"X"])
def test_rows_whose_changes_are_lost_go_to_lost_and_found(
    broken: Path, rows: Any, kind: bytes
) -> None:
    with kist.open(broken, "r+") as store:
        table: Any = store["g/t"]
        rng = np.random.default_rng(1)
        gone = rng.random(N) < 0.4
        gone[60_000:] = False
        table.delete(gone)
        table["b"][:3000] = rng.normal(size=3000)
        truth = table[:]
        first = int(table._state().layout.starts[1])
    (_, pointer), *_ = records(broken, "g/t", kind)
    harm(broken, body(pointer))
    report, out = saved(broken)
    (loss,) = report.losses
    assert (loss.node, loss.column, loss.rows) == ("/g/t", None, (0, first))
    assert len(report.lost_and_found) == 1
    with kist.open(out) as store:
        got = store["g/t"][:]
        assert len(got) == len(truth)
        assert got[first:].tobytes() == truth[first:].tobytes()
        # Neither deleted rows nor values that were replaced are in the table.
        assert not any(got[name][:first].astype(bool).any() for name in ("a", "b"))
        aside: Any = store[report.lost_and_found[0]]
        assert aside.attrs["table"] == "/g/t"
        assert np.array_equal(aside["0-a"][...], rows["a"][: len(aside["0-a"])])


def test_a_damaged_piece_leaves_its_rows_in_place(broken: Path, rows: Any) -> None:
    with kist.open(broken, "r+") as store:
        store["g/t"].append(rows[:900])
        store["g/t"].append(rows[:5])
        truth = store["g/t"][:]
    (_, pointer), *_ = records(broken, "g/t", b"G")
    harm(broken, body(pointer))
    report, out = saved(broken)
    assert [loss.rows for loss in report.losses] == [(N, N + 900)]
    with kist.open(out) as store:
        got = store["g/t"][:]
        assert got[:N].tobytes() == truth[:N].tobytes()
        assert got[N + 900 :].tobytes() == truth[N + 900 :].tobytes()
        assert not got[N : N + 900]["a"].any()


def test_chunks_and_values_are_saved_one_by_one(broken: Path, rows: Any) -> None:
    harm(broken, body(records(broken, "x", b"C")[2][1]))
    harm(broken, body(records(broken, "runs", b"K")[0][1]))
    report, out = saved(broken)
    by_node = {loss.node: loss for loss in report.losses}
    assert by_node["/x"].region == ((200, 250), (50, 100))  # of a chunk of four blocks
    assert "'large'" in by_node["/runs"].message
    with kist.open(out) as store:
        got, truth = store["x"][...], rows["b"].reshape(700, 100).copy()
        truth[200:250, 50:] = 0
        assert np.array_equal(got, truth)
        assert len(store["runs"]) == 40
        assert store["runs"]["k7"] == 7


def test_what_was_deleted_does_not_come_back(broken: Path, rows: Any) -> None:
    with kist.open(broken, "r+") as store:
        store["g/t"].delete(slice(0, 60_000))
        del store["x"]
        store["runs"]["k1"] = "newer"
        store.tag("later")
        truth = store["g/t"][:]
        root = store._view().state.root  # type: ignore[attr-defined]
    harm(broken, body(root))
    harm(broken, 0, 0x4000)
    report, out = saved(broken)
    with kist.open(out) as store:
        assert report.confirmed
        assert "x" not in store
        assert store["g/t"][:].tobytes() == truth.tobytes()
        assert store["runs"]["k1"] == "newer"


def test_without_any_record_everything_goes_to_lost_and_found(broken: Path, rows: Any) -> None:
    harm(broken, 0, layout.DATA_OFFSET)
    report, out = saved(broken)
    assert not report.ok
    assert not report.confirmed
    with kist.open(out) as store:
        assert list(store) == ["lost+found"]
        (state,) = [path for path in report.lost_and_found if "state" in path]
        assert store[f"{state}/g/t"][:].tobytes() == rows.tobytes()


def test_frames_that_nothing_leads_to_are_kept_with_what_they_say(path: Path, rows: Any) -> None:
    with kist.open(path, "x") as store:
        store["t"] = rows
        pointers = records(path, "t", b"P")
        tree = [Pointer.unpack(p) for p, _ in store._session.engine.reader.tree.pages(
            store._view().state.root_bytes()  # type: ignore[attr-defined]
        )]  # fmt: skip
    for pointer in tree:
        harm(path, body(pointer))
    harm(path, 0, layout.DATA_OFFSET)
    report, out = saved(path)
    assert not report.confirmed
    with kist.open(out) as store:
        group: Any = store[next(p for p in report.lost_and_found if "frames" in p)]
        assert len(group) == len(pointers)
        for array in group.values():
            facts = dict(array.attrs)
            assert facts["type"] == "NPAG"
            key, pointer = next((k, p) for k, p in pointers if p.offset == facts["offset"])
            assert (facts["column"], facts["row"]) == (keys.leaf_of(key), keys.row_of(key))
            assert len(array) == pointer.length


def test_the_new_file_is_there_whole_or_not_at_all(broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.kist"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kist.salvage(broken, out, progress=interrupt)
    assert [p.name for p in tmp_path.iterdir()] == [broken.name]
    out.write_bytes(b"mine")
    with pytest.raises(kist.StoreExistsError):
        kist.salvage(broken, out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(kist.StoreExistsError):
        kist.salvage(broken, broken)
    with pytest.raises(kist.StoreNotFoundError):
        kist.salvage(tmp_path / "nowhere.kist", tmp_path / "new.kist")
    other = tmp_path / "text"
    other.write_bytes(b"no store" * 1000)
    with pytest.raises(kist.NotAStoreError):
        kist.salvage(other, tmp_path / "new.kist")
    assert not (tmp_path / "new.kist").exists()


def test_a_file_that_somebody_makes_meanwhile_stays(broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.kist"
    with pytest.raises(kist.StoreExistsError, match="meanwhile"):
        kist.salvage(broken, out, progress=lambda done, total: out.write_bytes(b"theirs") and None)
    assert out.read_bytes() == b"theirs"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.kist", broken.name]


def test_a_file_that_may_only_be_read_is_enough(broken: Path, tmp_path: Path) -> None:
    broken.chmod(0o444)
    told: list[tuple[int, int]] = []
    kist.salvage(broken, tmp_path / "out.kist", progress=lambda a, b: told.append((a, b)))
    assert told
    assert all(done <= total for done, total in told)
    assert os.stat(tmp_path / "out.kist").st_nlink == 1


def test_what_was_salvaged_can_be_salvaged_again(broken: Path, tmp_path: Path) -> None:
    harm(broken, 0, layout.DATA_OFFSET)
    kist.salvage(broken, tmp_path / "one.kist")
    harm(tmp_path / "one.kist", 0, layout.DATA_OFFSET)
    report = kist.salvage(tmp_path / "one.kist", tmp_path / "two.kist")
    assert all(path.startswith("/lost+found") for path in report.lost_and_found)
    assert len(repr(report).splitlines()) > 2


def test_whichever_leaf_of_the_directory_is_lost_what_is_shown_is_right(path: Path) -> None:
    rng = np.random.default_rng(0)
    with kist.open(path, "x") as store:
        with store.transaction():
            for n in range(24):
                rows = np.zeros(6000, ROW)
                rows["a"] = n
                table: Any = store.create_table(f"t{n:03d}", rows)
                for k in range(5):
                    table["b"][1000 * k : 1000 * k + 80 : 2] = rng.normal(size=40)
                if n % 4 == 0:
                    table.delete(np.flatnonzero(rng.random(6000) < 0.05))
        store.tag("kept")
        truth = {name: store[name][:] for name in store}
        tree = store._session.engine.reader.tree
        pages = list(tree.pages(store._view().state.root_bytes()))  # type: ignore[attr-defined]
    whole = path.read_bytes()
    leaves = [(Pointer.unpack(packed), node.keys[0]) for packed, node in pages if not node.level]
    # Above all those that begin in the middle of a table, with what was changed in it.
    within = [leaf for leaf, key in leaves if keys.kind_of(key) in (b"U", b"X")]
    assert len(within) > 2
    places = [leaf.offset + 140 for leaf in within[:4] + [leaf for leaf, _ in leaves[::12]]]
    saved_whole = 0
    for place in places:
        path.write_bytes(whole)
        harm(path, place)
        out = path.with_name("out.kist")
        report = kist.salvage(path, out)
        lost: dict[str, list[Any]] = {}
        for loss in report.losses:
            lost.setdefault(loss.node[1:], []).append(loss)
        with kist.open(out) as store:
            assert store.check().ok
            for name in truth:
                if name not in store:
                    assert name in lost or "" in lost
                    continue
                got, expected, own = store[name][:], truth[name], lost.get(name, [])
                if any("moved up" in loss.message for loss in own):
                    continue
                assert len(got) == len(expected)
                right = np.zeros(len(got), bool)
                for loss in own:
                    if loss.rows is not None:
                        right[slice(*loss.rows)] = True
                assert (right | (got == expected)).all()
                saved_whole += not own
        out.unlink()
    assert saved_whole > 60


def test_a_folder_that_is_read_only_is_an_error_of_kist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "a.kist", tmp_path / "there" / "out.kist"
    with kist.open(source, "x") as store:
        store["x"] = np.arange(9)
    out.parent.mkdir()
    real = os.open

    def refusing(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if os.fspath(path).startswith(str(out.parent)) and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **named)

    def unlinked(path: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))  # also of what is not there

    monkeypatch.setattr(os, "open", refusing)
    monkeypatch.setattr(os, "unlink", unlinked)
    with pytest.raises(kist.ReadOnlyError):
        kist.salvage(source, out)
    with pytest.raises(kist.ReadOnlyError):
        kist.save(out, np.zeros(1_000_000))
    with kist.open(source) as store, pytest.raises(kist.ReadOnlyError):
        store.backup(out)


def test_a_name_that_cannot_be_given_is_an_error_of_kist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "a.kist", tmp_path / "out.kist"
    with kist.open(source, "x") as store:
        store["x"] = np.arange(9)

    def refusing(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refusing)
    with pytest.raises(kist.StorageError, match="cannot be given its name"):
        kist.salvage(source, out)
    assert sorted(tmp_path.iterdir()) == [source]
