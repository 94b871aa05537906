"""Arrays and key stores split into files and merged again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import kist
from kist.engine import blocks, pages
from kist.errors import (
    ConstraintError,
    DTypeError,
    KistError,
    NodeError,
    NodeExistsError,
    SelectionError,
    ShapeError,
    StorageError,
)
from kist.format import keys
from kist.format.keystore import Counts
from kist.model.parts import arraysink, keysink

Array = np.ndarray[Any, Any]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each call that decodes."""
    found: list[int] = []

    def counted(original: Any) -> Any:
        def call(*arguments: Any) -> Any:
            found.append(1)
            return original(*arguments)

        return call

    monkeypatch.setattr(pages, "_decode_verified", counted(pages._decode_verified))
    monkeypatch.setattr(pages, "decode", counted(pages.decode))
    monkeypatch.setattr(blocks, "decode", counted(blocks.decode))
    return found


def read(name: str | Path, path: str = "x") -> Array:
    with kist.open(name) as store:
        assert store.check().ok, store.check()
        found: Array = store[path][...]
        return found


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_chunks_are_copied_as_bytes_and_cuts_stand_between_them(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    data = np.random.default_rng(0).normal(size=(100, 40, 30))
    with kist.open(path, "w") as store:
        store.create_array("g/x", data, chunks=(10, 40, 15), attrs={"k": 1})
    names = kist.split(path, "g/x", parts=3, out=tmp_path / "p-{}.kist")
    kist.merge(names, tmp_path / "whole.kist")
    assert decoded == []
    assert [len(read(name, "g/x")) for name in names] == [30, 40, 30]
    assert np.array_equal(read(tmp_path / "whole.kist", "g/x"), data)
    with kist.open(names[2]) as part:
        assert part["g/x"].attrs["k"] == 1 and part["g/x"].chunks == (10, 40, 15)


def test_arrays_that_grew_by_rows_are_joined_without_decoding(
    tmp_path: Path, decoded: list[int]
) -> None:
    names = []
    for number in range(5):
        names.append(tmp_path / f"{number}.kist")
        with kist.open(names[-1], "w") as store:
            x = store.create_array("x", shape=(0, 500), dtype="f4", chunks=(100, 500))
            x.append(np.full((7, 500), number) + np.arange(500) / 7)
    decoded.clear()
    kist.merge(names, tmp_path / "whole.kist")
    assert decoded == []
    assert read(tmp_path / "whole.kist")[:, 0].tolist() == np.repeat(range(5), 7).tolist()


def test_chunks_that_would_reach_over_the_edge_of_another_are_decoded(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        names.append(tmp_path / f"{number}.kist")
        with kist.open(names[-1], "w") as store:
            values = np.arange(70, dtype="i8").reshape(7, 10) + 100 * number
            store.create_array("x", values, chunks=(5, 4))
    kist.merge(names, tmp_path / "whole.kist")
    expected = np.concatenate([read(name) for name in names])
    assert np.array_equal(read(tmp_path / "whole.kist"), expected)


@hypothesis.settings(max_examples=12)
@hypothesis.given(data=st.data())
def test_any_cuts_of_any_array_merge_to_the_array(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    n = data.draw(st.integers(0, 40))
    dtype = data.draw(st.sampled_from(["i4", "S3", "T", "M8[s]", [("a", "i2"), ("b", "f8")]]))
    rest = data.draw(st.sampled_from([(), (3,), (0,), (2, 5)]))
    chunks = (data.draw(st.integers(1, 15)), *(max(1, k // 2) for k in rest))
    values = np.arange(n * int(np.prod(rest))).reshape(n, *rest) % 7
    if dtype == "T":
        dtype = np.dtypes.StringDType()
    with kist.open(folder / "x.kist", "w") as store:
        x = store.create_array("x", shape=(n, *rest), dtype=dtype, chunks=chunks)
        if data.draw(st.booleans()):
            at = data.draw(st.integers(0, n))
            if not isinstance(dtype, list):
                x[at:] = values[at:].astype(dtype)
        cuts = sorted(data.draw(st.sets(st.integers(1, max(1, n - 1)), max_size=3)))
        cuts = [cut for cut in cuts if cut < n]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arraysink, "_BOX_BYTES", 64)
            patch.setattr(arraysink, "_RECORDS", 2)
            names = kist.split(x, at=cuts, out=folder / "p-{}.kist")
            kist.merge(names, folder / "whole.kist")
        found = read(folder / "whole.kist")
        assert found.dtype == x.dtype and found.tolist() == x[...].tolist()
        assert np.concatenate([read(name) for name in names]).tolist() == x[...].tolist()


def test_arrays_far_larger_than_what_is_stored_of_them_are_cut_by_what_is_stored(
    tmp_path: Path,
) -> None:
    n, wide = 1 << 50, 1 << 40
    with kist.open(tmp_path / "x.kist", "w") as store:
        x = store.create_array("x", shape=(n, wide), dtype="i4", chunks=(10, 10), fill_value=7)
        for row, column in ((3, 5), (n // 2 + 3, wide // 2), (n - 1, wide - 1)):
            x[row, column] = column % 1000
        # One cut through a chunk that holds values, and parts of nothing but the fill value.
        cuts = [1, n // 4, n // 2 + 4, n - 1000]
        names = kist.split(x, at=cuts, out=tmp_path / "p-{}.kist")
    kist.merge(names, tmp_path / "whole.kist")
    with kist.open(tmp_path / "whole.kist") as store:
        x = store["x"]
        assert x.shape == (n, wide) and store.check().ok
        for row, column in ((3, 5), (n // 2 + 3, wide // 2), (n - 1, wide - 1)):
            assert x[row, column] == column % 1000 and x[row, column - 1] == 7
            assert x[row - 1, column] == 7


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    arrays = {"a": np.zeros((3, 4)), "b": np.zeros((3, 5)), "c": np.zeros((3, 4), "f4"), "d": 1.5}
    for name, values in arrays.items():
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["x"] = values
    left = files_of(tmp_path)
    for other, kind in (("b", ShapeError), ("c", DTypeError), ("d", ShapeError)):
        with pytest.raises(kind):
            kist.merge([tmp_path / "a.kist", tmp_path / f"{other}.kist"], tmp_path / "w.kist")
    with pytest.raises(ShapeError):
        kist.split(tmp_path / "d.kist", "x", parts=1, out=tmp_path / "p")
    with pytest.raises(NodeError):
        kist.split(tmp_path / "a.kist", "x", by="t", out=tmp_path / "p")
    assert files_of(tmp_path) == left
    kist.merge([tmp_path / "d.kist"], tmp_path / "e.kist")
    assert read(tmp_path / "e.kist") == 1.5


def filled(path: Path, n: int = 200) -> dict[Any, Any]:
    items: dict[Any, Any] = {f"run-{i:03}": (np.arange(i), {"i": i}) for i in range(n)}
    items |= {i * 1000: i for i in range(-5, 20)} | {
        b"raw": b"x" * 5000,
        "ha\u0308": 1,
        "\u00e9": 2,
    }
    with kist.open(path, "w") as store:
        runs = store.create_keystore("runs", attrs={"k": 1})
        runs.update(items)
    return items


def same_items(a: Any, b: Any) -> None:
    from kist.model.comparing import compare

    assert list(compare(a, b)) == []
    assert (a.nbytes, a.codec, len(a)) == (b.nbytes, b.codec, len(b))


@pytest.mark.parametrize(
    "how",
    [{"rows": 60}, {"parts": 4}, {"parts": 1}, {"at": [0, "run-000", "run-1"]}, {"at": [b"a"]}],
)
def test_key_stores_are_cut_by_ranges_of_keys_and_joined(
    path: Path, tmp_path: Path, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = filled(path)
    monkeypatch.setattr(keysink, "_RECORDS", 50)
    names = kist.split(path, "runs", out=tmp_path / "p", **how)
    keys: list[Any] = []
    for name in names:
        with kist.open(name) as part:
            assert part.check().ok and len(part["runs"]) == len(list(part["runs"]))
            keys += list(part["runs"])
    assert set(keys) == items.keys() and len(keys) == len(items)
    with kist.open(path) as store:
        assert keys == list(store["runs"])
        for order in (names, names[::-1]):
            kist.merge(order, tmp_path / "whole.kist", overwrite=True)
            with kist.open(tmp_path / "whole.kist") as whole:
                assert whole.check().ok
                same_items(store["runs"], whole["runs"])
    with kist.open(tmp_path / "whole.kist", "r+") as whole, pytest.raises(NodeExistsError):
        whole["runs"]["h\u00e4"] = 3  # the note of the other form is there


def test_values_are_not_decoded(path: Path, tmp_path: Path, decoded: list[int]) -> None:
    filled(path)
    decoded.clear()
    kist.merge(kist.split(path, "runs", rows=50, out=tmp_path / "p"), tmp_path / "whole.kist")
    assert decoded == []


def test_keys_that_come_twice_are_refused(path: Path, tmp_path: Path) -> None:
    filled(path)
    a, b = kist.split(path, "runs", parts=2, out=tmp_path / "p-{}.kist")
    with kist.open(tmp_path / "o.kist", "w") as store:
        store.create_keystore("runs").update({"run-190": 1})
        store.create_keystore("look").update({"h\u00e4": 1})
    with kist.open(tmp_path / "n.kist", "w") as store:
        store.create_keystore("look").update({"ha\u0308": 1})
    left = files_of(tmp_path)
    with pytest.raises(NodeExistsError, match=r"'run-190'.* twice"):
        kist.merge([a, b, tmp_path / "o.kist"], tmp_path / "w.kist")
    with pytest.raises(ConstraintError):
        kist.merge([b, b], tmp_path / "w.kist")
    for order in ("on", "no"):
        with pytest.raises(NodeExistsError, match="Unicode form"):
            kist.merge([tmp_path / f"{name}.kist" for name in order], tmp_path / "w.kist")
    assert files_of(tmp_path) == left


def test_cuts_beyond_the_keys_are_refused(path: Path, tmp_path: Path) -> None:
    filled(path)
    wrong: list[tuple[type[KistError], dict[str, Any]]] = [
        (SelectionError, {"at": ["\U0010ffff"]}),
        (SelectionError, {"at": [-(10**9)]}),
        (SelectionError, {"at": ["b", "a"]}),
        (SelectionError, {"at": ["run-0001", "run-0002"]}),
        (SelectionError, {"parts": 1000}),
        (DTypeError, {"at": [1.5]}),
        (NodeError, {"by": "run"}),
    ]
    for kind, how in wrong:
        with pytest.raises(kind):
            kist.split(path, "runs", out=tmp_path / "p", **how)
    assert files_of(tmp_path) == ["t.kist"]


def test_arrays_of_other_dtypes_are_cast_when_asked_value_by_value(tmp_path: Path) -> None:
    sealed = pytest.importorskip("cryptography") and {"encrypt": bytes(32)}
    for more, secrets in (({}, None), (sealed, bytes(32))):
        values = np.arange(24.0).reshape(8, 3)
        parts = [values, values.astype("i4"), values.astype(">f4") + 0.5]
        files = [tmp_path / f"{number}.kist" for number in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            with kist.open(file, "w") as store:
                store.create_array("x", part, chunks=(5, 2), **more)
        out = tmp_path / "out.kist"
        with pytest.raises(DTypeError, match=r"1.kist': '/x' of int32 cannot .* cast=True"):
            kist.merge(files, out, secrets=secrets)
        assert not out.exists()
        kist.merge(files, out, cast=True, secrets=secrets, overwrite=True)
        with kist.open(out, secrets=secrets) as store:
            assert store["x"].dtype == "f8" and np.array_equal(store["x"][:], np.concatenate(parts))
        out.unlink()
        with pytest.raises(DTypeError, match=r"2.kist': .*fraction"):
            kist.merge([files[1], files[2]], out, cast=True, secrets=secrets)
        assert sorted(tmp_path.iterdir()) == files


def test_an_interrupt_when_a_name_was_just_given_leaves_no_part(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(path, "w") as store:
        store["x"] = np.arange(90)
    link, given = os.link, []

    def interrupted(part: str, target: str) -> None:
        link(part, target)
        given.append(target)
        if len(given) == 2:
            raise KeyboardInterrupt

    before = files_of(tmp_path)
    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kist.split(path, "x", parts=3, out=tmp_path / "part-{}.kist")
    assert len(given) == 2 and files_of(tmp_path) == before


def test_what_others_put_in_the_place_of_a_part_stays(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(path, "w") as store:
        store["x"] = np.arange(90)
    link, given = os.link, []

    def slow(part: str, target: str) -> None:
        if given:
            given[0].unlink()
            given[0].write_bytes(b"theirs")
            raise OSError(errno.EIO, "no more")
        given.append(Path(target))
        link(part, target)

    monkeypatch.setattr(os, "link", slow)
    with pytest.raises(StorageError):
        kist.split(path, "x", parts=2, out=tmp_path / "part-{}.kist")
    assert given[0].read_bytes() == b"theirs"
    assert [p.name for p in tmp_path.glob("part*")] == [given[0].name]


@pytest.mark.parametrize("counted", [1, 7, 2**63, 2**64 - 1])
def test_a_wrong_count_of_keys_loses_none_of_them(tmp_path: Path, counted: int) -> None:
    source, out = tmp_path / "a.kist", tmp_path / "out.kist"
    with kist.open(source, "w") as store:
        runs = store.create_keystore("runs")
        runs.update({"a": 1, "b": 2, "c": 3})
        with runs._write() as txn:
            txn.put(keys.bounds(runs._id), Counts(counted, 9, 9, "fast").pack())
    with kist.open(source) as store:
        assert not store.check().ok
        assert counted in (1, 7) or refused(lambda: len(store["runs"]))
    kist.merge([source], out)
    with kist.open(out) as store:
        assert dict(store["runs"]) == {"a": 1, "b": 2, "c": 3}
        assert len(store["runs"]) == 3 and store.check().ok
    if counted > 7:
        assert refused(lambda: kist.split(source, "runs", parts=2, out=tmp_path / "p-{}.kist"))


def refused(call: Callable[[], object]) -> bool:
    with pytest.raises(kist.CorruptDataError, match=r"runs'?: counts \d+ keys"):
        call()
    return True
