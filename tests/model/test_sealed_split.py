"""Sealed arrays and key stores, split and merged: bytes that go along, and who notices what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine, pages
from kist.errors import (
    DTypeError,
    NodeExistsError,
    SecretError,
    SelectionError,
    TamperedDataError,
    WrongSecretError,
)
from kist.format import keys
from kist.format.keystore import pack_key
from kist.format.sealed import Lock
from kist.format.values import pack_record, unpack_record
from kist.model.arrays.read import read as read_values
from kist.model.parts import arraysink, sealedwhole

KEY, OTHER = (bytes(range(at, at + 32)) for at in (0, 32))
BOTH = [KEY, OTHER]
CUBE = np.random.default_rng(0).integers(0, 50, (24, 16, 8)).astype("u2")
RUNS: dict[Any, Any] = {f"run {at:02d}": np.arange(at, at + 2000) for at in range(12)} | {
    7: 1.5,
    "small": "text",
    "ü": {"dose": 2.5},
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is decoded: the byte of each page, and the first row of each box of an array."""
    found: list[int] = []
    original, read = pages._decode_verified, read_values

    def counted(pointer: Any, *rest: Any) -> None:
        found.append(pointer.offset)
        original(pointer, *rest)

    def counted_box(state: Any, box: Any) -> Any:
        found.append(box.start[0])
        return read(state, box)

    monkeypatch.setattr(pages, "_decode_verified", counted)
    monkeypatch.setattr(arraysink, "read", counted_box)
    return found


def make_array(path: Path, values: Any = CUBE, secret: Any = KEY, fill: int = 7) -> Path:
    with kist.open(path, "w") as store:
        a = store.create_array("a", values, chunks=(4, 16, 8), fill_value=fill, encrypt=secret)
        a.attrs["unit"] = "mV"
    return path


def make_keys(path: Path, entries: dict[Any, Any] = RUNS, secret: Any = KEY) -> Path:
    with kist.open(path, "w") as store:
        store.create_keystore("k", encrypt=secret).update(entries)
    return path


def array_of(path: Any, secrets: Any = KEY) -> Any:
    with kist.open(path, secrets=secrets) as store:
        assert store.check().ok, store.check()
        assert store["a"].sealed and store["a"].attrs["unit"] == "mV"
        return store["a"][:]


def entries_of(path: Any, secrets: Any = KEY) -> dict[Any, Any]:
    with kist.open(path, secrets=secrets) as store:
        report = store.check()
        assert report.ok, report
        assert store["k"].sealed and len(store["k"]) == len(list(store["k"]))
        return dict(store["k"].items())


def same_entries(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in found.items():
        np.testing.assert_equal(value, expected[key])


def lock_of(path: Path, name: str) -> Lock:
    with kist.open(path) as store, store._session.engine.snapshot() as view:
        value = view.get(keys.lock(store[name]._id, 1))
        assert value is not None
        return Lock.unpack(unpack_record(value)[1])


def payloads(path: Path, name: str, kind: bytes) -> set[bytes]:
    """Sealed records: each holds the salt of its body."""
    with kist.open(path) as store, store._session.engine.snapshot() as view:
        found = view.scan(*keys.prefix_range(keys.node(store[name]._id)[:8] + kind))
        return {unpack_record(value)[1] for _, value in found}


def test_parts_of_an_array_are_copied_as_bytes_and_make_it_again(
    tmp_path: Path, decoded: list[int]
) -> None:
    file = make_array(tmp_path / "f.kist")
    names = kist.split(file, "a", rows=8, out=tmp_path / "p{}.kist", secrets=KEY)
    kist.merge(names, tmp_path / "m.kist", secrets={"a": KEY})
    assert decoded == []
    assert payloads(file, "a", b"C") == payloads(tmp_path / "m.kist", "a", b"C")
    for at, name in enumerate(names):
        np.testing.assert_array_equal(array_of(name), CUBE[8 * at : 8 * at + 8])
        with kist.open(name) as store:
            assert store["a"].sealed == ("1",) and store["a"].shape == (8, 16, 8)
            with pytest.raises(SecretError):
                store["a"][0]
    np.testing.assert_array_equal(array_of(tmp_path / "m.kist"), CUBE)
    with kist.open(tmp_path / "m.kist", "r+", secrets=KEY) as store:
        a = store["a"]
        a.append(CUBE[:3])
        a.resize(40, axis=0)
        assert (a[27:] == 7).all() and a[26, 2, 3] == CUBE[2, 2, 3]  # the sealed fill value


def test_an_array_is_cut_through_its_chunks(tmp_path: Path, decoded: list[int]) -> None:
    file = make_array(tmp_path / "f.kist")
    names = kist.split(file, "a", at=[3, 9, 22], out=tmp_path / "p{}.kist", secrets=KEY)
    for name, part in zip(names, np.split(CUBE, [3, 9, 22]), strict=True):
        np.testing.assert_array_equal(array_of(name), part)
    assert sorted(set(decoded)) == [0, 3, 4, 8, 9, 12, 16, 20, 22]
    kist.merge(names, tmp_path / "m.kist", secrets=KEY)
    np.testing.assert_array_equal(array_of(tmp_path / "m.kist"), CUBE)


@pytest.mark.parametrize("fill", [7, 0])
def test_arrays_under_other_keys_are_sealed_anew(
    tmp_path: Path, decoded: list[int], fill: int
) -> None:
    """Their keys would open what is in their own file, now and later."""
    one = make_array(tmp_path / "a.kist")
    other = make_array(tmp_path / "b.kist", CUBE[::-1], OTHER, fill)
    kist.merge([one, other], tmp_path / "m.kist", secrets=BOTH)
    assert (decoded == []) == (fill == 7)  # what was never written means something else
    found = array_of(tmp_path / "m.kist")
    np.testing.assert_array_equal(found, np.concatenate([CUBE, CUBE[::-1]]))
    assert lock_of(tmp_path / "m.kist", "a") == lock_of(one, "a")
    assert not payloads(other, "a", b"C") & payloads(tmp_path / "m.kist", "a", b"C")
    with kist.open(tmp_path / "m.kist", secrets=OTHER) as store, pytest.raises(WrongSecretError):
        store["a"][0]


def test_large_ones_are_made_in_several_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arraysink, "_RECORDS", 2)
    monkeypatch.setattr(sealedwhole, "_RECORDS", 4)
    for secret in BOTH:
        files = [make_array(tmp_path / "a.kist"), make_array(tmp_path / "b.kist", CUBE, secret)]
        kist.merge(files, tmp_path / "m.kist", secrets=BOTH, overwrite=True)
        found = array_of(tmp_path / "m.kist")
        np.testing.assert_array_equal(found, np.concatenate([CUBE, CUBE]))
    file = make_keys(tmp_path / "k.kist")
    kist.split(file, "k", parts=2, out=tmp_path / "p{}.kist", secrets=KEY)
    kist.merge(sorted(tmp_path.glob("p*.kist")), tmp_path / "m.kist", secrets=KEY, overwrite=True)
    same_entries(entries_of(tmp_path / "m.kist"), RUNS)


@pytest.mark.parametrize("how", [{"rows": 4}, {"parts": 3}, {"at": ["run 03", "small"]}], ids=str)
def test_a_key_store_is_cut_in_the_order_of_its_keys(
    tmp_path: Path, decoded: list[int], how: dict[str, Any]
) -> None:
    file = make_keys(tmp_path / "f.kist")
    with kist.open(tmp_path / "clear.kist", "w") as store:
        store.create_keystore("k").update(RUNS)
    names = kist.split(file, "k", **how, out=tmp_path / "p{}.kist", secrets=KEY)
    plain = kist.split(tmp_path / "clear.kist", "k", **how, out=tmp_path / "q{}.kist")
    kist.merge(names[::-1], tmp_path / "m.kist", secrets=KEY)
    assert decoded == []
    for sealed, clear in zip(names, plain, strict=True):
        with kist.open(clear) as store:
            same_entries(entries_of(sealed), dict(store["k"].items()))
        with kist.open(sealed) as store, pytest.raises(SecretError):
            store["k"]["small"]
    same_entries(entries_of(tmp_path / "m.kist"), RUNS)
    assert payloads(file, "k", b"K") == payloads(tmp_path / "m.kist", "k", b"K")
    with kist.open(names[0], "r+", secrets=KEY) as store:
        store["k"]["run 00"] = store["k"]["new"] = 5
        del store["k"]["new"]
    entries_of(names[0])


def test_key_stores_under_other_keys_are_sealed_anew(tmp_path: Path, decoded: list[int]) -> None:
    one = make_keys(tmp_path / "a.kist")
    more = {f"more {at}": np.arange(at + 3000) for at in range(5)} | {"x": 1}
    other = make_keys(tmp_path / "b.kist", more, OTHER)
    kist.merge([one, other], tmp_path / "m.kist", secrets=BOTH)
    assert decoded == []
    same_entries(entries_of(tmp_path / "m.kist"), RUNS | more)
    assert not payloads(other, "k", b"K") & payloads(tmp_path / "m.kist", "k", b"K")
    with kist.open(tmp_path / "m.kist", secrets=OTHER) as store, pytest.raises(WrongSecretError):
        store["k"]["x"]


@pytest.mark.parametrize("name", ["a", "k"])
def test_parts_that_have_some_keys_in_common_are_one_again(tmp_path: Path, name: str) -> None:
    """What stands under a key that the first part has not is sealed anew."""
    file = (make_array if name == "a" else make_keys)(tmp_path / "f.kist")
    first, second = kist.split(file, name, parts=2, out=tmp_path / "p{}.kist", secrets=KEY)
    with kist.open(second, "r+", secrets=KEY) as store:
        store[name].rotate()
        if name == "a":
            store["a"].append(CUBE[:2])
        else:
            store["k"]["zz"] = np.arange(3000)
    kist.merge([first, second], tmp_path / "m.kist", secrets=KEY)
    if name == "a":
        found = array_of(tmp_path / "m.kist")
        np.testing.assert_array_equal(found, np.concatenate([CUBE, CUBE[:2]]))
    else:
        same_entries(entries_of(tmp_path / "m.kist"), RUNS | {"zz": np.arange(3000)})


def test_no_key_comes_twice(tmp_path: Path) -> None:
    one = make_keys(tmp_path / "a.kist")
    for entries, words in (({"small": 1}, "comes twice"), ({"u\u0308": 1}, "Unicode form")):
        other = make_keys(tmp_path / "b.kist", entries, OTHER)
        with pytest.raises(NodeExistsError, match=words):
            kist.merge([one, other], tmp_path / "m.kist", secrets=BOTH)
    assert not (tmp_path / "m.kist").exists()


def test_cuts_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    file = make_keys(tmp_path / "f.kist")
    for cuts in (["run 05", "run 03"], [min(RUNS, key=pack_key)]):
        with pytest.raises(SelectionError, match=r"ascend|leaves nothing on one side"):
            kist.split(file, "k", at=cuts, out=tmp_path / "p{}.kist", secrets=KEY)
    assert not list(tmp_path.glob("p*"))


@pytest.mark.parametrize("name", ["a", "k"])
@pytest.mark.parametrize("secrets", [None, OTHER], ids=["none", "wrong"])
def test_without_the_secret_nothing_is_made(tmp_path: Path, name: str, secrets: Any) -> None:
    file = (make_array if name == "a" else make_keys)(tmp_path / "f.kist")
    with pytest.raises(SecretError, match="split and merged with its secret"):
        kist.split(file, name, parts=2, out=tmp_path / "p{}.kist", secrets=secrets)
    with pytest.raises(SecretError, match=r"f\.kist"):
        kist.merge([file, file], tmp_path / "m.kist", secrets=secrets)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("first", [0, 1])
def test_what_is_sealed_and_what_is_not_do_not_become_one(tmp_path: Path, first: int) -> None:
    with kist.open(tmp_path / "clear.kist", "w") as store:
        store["a"] = CUBE
        store.create_keystore("k")["x"] = 1
    for file in (make_array(tmp_path / "a.kist"), make_keys(tmp_path / "k.kist")):
        sources = [file, tmp_path / "clear.kist"][:: 1 if first == 0 else -1]
        with pytest.raises(DTypeError, match=r"is (not )?sealed, and the first part is"):
            kist.merge(sources, tmp_path / "m.kist", file.stem, secrets=KEY)
        assert not (tmp_path / "m.kist").exists()


def edited(file: Path, edit: Callable[[Any], None]) -> Path:
    """Let somebody who has no secret, but knows the format, change records of a file."""
    engine = Engine.open(str(file), "r+")
    try:
        txn = engine.begin()
        edit(txn)
        txn.commit()
    finally:
        engine.close()
    return file


@pytest.mark.parametrize("name", ["a", "k"])
def test_records_moved_between_parts_are_noticed(tmp_path: Path, name: str) -> None:
    """Parts share their keys: only the manifest of each says what belongs to it."""
    file = (make_array if name == "a" else make_keys)(tmp_path / "f.kist")
    names = kist.split(file, name, parts=2, out=tmp_path / "p{}.kist", secrets=KEY)
    with kist.open(names[0]) as store:
        node = store[name]._id
    kind = keys.segments(node) if name == "a" else keys.items(node)
    with kist.open(names[1]) as store, store._session.engine.snapshot() as view:
        found = {key: unpack_record(value) for key, value in view.scan(*kind)}
        manifest = view.get(keys.manifest(node, 1))
    small = [(key, payload) for key, (extents, payload) in found.items() if not extents]

    def swap(txn: Any) -> None:
        txn.put(keys.manifest(node, 1), manifest)

    edited(Path(names[0]), swap)
    with kist.open(names[0], secrets=KEY) as store, pytest.raises(TamperedDataError):
        store[name][0 if name == "a" else "run 00"]

    def add(txn: Any) -> None:
        for key, payload in small:
            txn.put(key, pack_record(payload))

    if small:
        again = kist.split(file, name, parts=2, out=tmp_path / "q{}.kist", secrets=KEY)
        edited(Path(again[0]), add)
        with kist.open(again[0], secrets=KEY) as store, pytest.raises(TamperedDataError):
            list(store[name])


@pytest.mark.parametrize("name", ["a", "k"])
def test_a_file_that_was_tampered_with_is_not_split(tmp_path: Path, name: str) -> None:
    """Splitting makes a manifest anew: what the old one does not name must not get into it."""
    file = (make_array if name == "a" else make_keys)(tmp_path / "f.kist")
    with kist.open(file) as store:
        node = store[name]._id
    kind = keys.segments(node) if name == "a" else keys.items(node)

    def drop(txn: Any) -> None:
        txn.delete(next(key for key, _ in txn.scan(*kind)))

    edited(file, drop)
    with pytest.raises(TamperedDataError):
        kist.split(file, name, parts=2, out=tmp_path / "p{}.kist", secrets=KEY)
    assert list(tmp_path.iterdir()) == [file]
