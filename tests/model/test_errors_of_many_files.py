"""Where several files are read or made into one, errors say which of them is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError, DTypeError
from kist.format import keys, layout
from kist.format.values import unpack_record
from kist.model.tables.stored.layout import forget

KEY = bytes(range(32))
N = 70_000


@pytest.fixture(params=[False, True], ids=["open", "sealed"])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Three files with a part of a table and of an array; the last one is damaged in both."""
    rng = np.random.default_rng(0)
    rows = np.zeros(N, [("id", "i4"), ("x", "f8")])
    rows["id"], rows["x"] = np.arange(N), rng.normal(size=N)
    found = [tmp_path / f"part-{number}.kist" for number in (1, 2, 3)]
    for path in found:
        with kist.open(path, "x") as store:
            store.create_table("t", rows, encrypt={"x": KEY} if request.param else None)
            store.create_array("a", rows["x"], encrypt=KEY if request.param else None)
    for name, kind in (("t", b"P"), ("a", b"C")):
        with kist.open(found[-1], secrets=KEY) as store:
            node: Any = store[name]
            records = node._view().scan(*keys.whole_node(node._id))
            pointers = [
                p for k, v in records if keys.kind_of(k) == kind for p in unpack_record(v)[0]
            ]
        pointer = max(pointers, key=lambda p: p.length)
        data = bytearray(found[-1].read_bytes())
        data[pointer.offset + layout.FRAME.size + pointer.nbytes - 20] ^= 1
        found[-1].write_bytes(data)
    return found


def test_a_damaged_part_is_named_and_nothing_is_left_of_the_merge(parts: list[Path]) -> None:
    out = parts[0].with_name("merged.kist")
    for name in ("t", "a"):
        with pytest.raises(
            CorruptDataError, match=r"part-3.kist'.* byte \d+.*kist check"
        ) as caught:
            kist.merge(parts, out, path=name, secrets=KEY)
        offset = caught.value.offset
        assert str(caught.value).count("part-") == 1
        assert offset is not None and offset < parts[2].stat().st_size
        assert sorted(p.name for p in out.parent.iterdir()) == [p.name for p in parts]


def test_copying_a_damaged_dataset_names_its_file(parts: list[Path]) -> None:
    out = parts[0].with_name("copy.kist")
    with kist.open(parts[2], secrets=KEY) as source, kist.open(out, "x", secrets=KEY) as store:
        with pytest.raises(CorruptDataError, match=r"'.*part-3.kist', byte \d+, of '/copied'"):
            store.copy(source["t"], "copied")
        assert list(store) == []


def test_a_union_says_in_which_file_and_where(parts: list[Path]) -> None:
    with kist.union(parts, "t", secrets=KEY) as union:
        with pytest.raises(CorruptDataError, match=r"byte \d+ of '.*part-3.kist'") as caught:
            union["x"][:]
        offset = caught.value.offset
        assert offset is not None and offset < parts[2].stat().st_size
        assert union["id"][-1] == N - 1


def test_unions_of_arrays_say_in_which_file(parts: list[Path]) -> None:
    with kist.open(parts[0].with_name("all.kist"), "x", secrets=KEY) as store:
        store.create_union("a", "a", files="part-*.kist")
        with kist.union(parts, "a", secrets=KEY) as union:
            for arrays in (union, store["a"]):
                for key in (slice(None), [0, 3 * N - 1], slice(None, None, -70)):
                    with pytest.raises(CorruptDataError, match=r"^'[^']*part-3.kist': '/a' chunk"):
                        arrays[key]
                assert len(arrays[: 2 * N]) == 2 * N


def test_unions_of_arrays_that_do_not_fit_say_whose(tmp_path: Path) -> None:
    for number, value in enumerate((np.zeros((2, 3)), np.zeros((2, 3), "f4"), np.zeros((2, 4)))):
        with kist.open(tmp_path / f"{number}.kist", "x") as store:
            store["a"], store[f"only-{number}"] = value, value
    for number, error in ((1, DTypeError), (2, kist.ShapeError)):
        files = [tmp_path / "0.kist", tmp_path / f"{number}.kist"]
        with pytest.raises(error, match=rf"'/a' of '.*{number}.kist' .*'/a' of '.*0.kist' "):
            kist.union(files, "a")
        with pytest.raises(kist.NodeNotFoundError, match=rf"^'.*{number}.kist': .* no '/only-0'"):
            kist.union(files, "only-0")


def test_a_damaged_piece_of_a_union_names_its_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.kist" for number in (1, 2)]
    for path in files:
        with kist.open(path, "x") as store:
            store["t"] = np.random.default_rng(0).normal(size=(2000, 2)).view("f8,f8").ravel()
    with kist.open(files[1]) as store:
        node: Any = store["t"]
        records = list(node._view().scan(*keys.groups(node._id)))
        (pointer,) = [p for _, value in records for p in unpack_record(value)[0]]
    data = bytearray(files[1].read_bytes())
    data[pointer.offset + layout.FRAME.size + pointer.nbytes - 20] ^= 1
    files[1].write_bytes(data)
    forget()
    with kist.union(files, "t") as union:
        with pytest.raises(CorruptDataError, match=r"^'.*2.kist': '/t' column"):
            union["f0"][:]
        assert len(union["f0"][:2000]) == 2000


def test_a_missing_file_is_named_without_a_mode_that_would_make_it(tmp_path: Path) -> None:
    gone, out = tmp_path / "gone.kist", tmp_path / "out.kist"
    with kist.open(tmp_path / "there.kist", "x") as store:
        store["t"] = np.zeros(3, "i4,f8")
    for step in (
        lambda: kist.merge([tmp_path / "there.kist", gone], out),
        lambda: kist.split(gone, "t", parts=2, out=out),
        lambda: kist.union([tmp_path / "there.kist", gone], "t"),
        lambda: kist.salvage(gone, out),
    ):
        with pytest.raises(kist.StoreNotFoundError, match=r"gone.kist': no such file$") as caught:
            step()
        assert caught.value.filename == str(gone) and not out.exists()
    with pytest.raises(kist.StoreNotFoundError, match="mode 'a' makes one"):
        kist.open(gone)


def test_a_merge_says_whose_values_do_not_fit(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.kist" for number in (1, 2)]
    for path, kind in zip(paths, ("i4", "i8"), strict=True):
        with kist.open(path, "x") as store:
            store["t"] = np.array([(1 << 30,), (7 << (0 if kind == "i4" else 40),)], [("n", kind)])
    out = tmp_path / "out.kist"
    with pytest.raises(DTypeError, match=r"'.*2.kist': .* row 1, column 'n'") as caught:
        kist.merge(paths, out, cast=True)
    assert (caught.value.row, caught.value.column) == (1, "n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.kist", "2.kist"]
