"""Tables with sealed columns, split and merged: bytes that go along, keys, and who notices what."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_programs import small_groups

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine, pages
from kist.errors import DTypeError, SecretError, TamperedDataError, WrongSecretError
from kist.format import keys
from kist.format.layout import FRAME_SEALED
from kist.format.sealed import Lock
from kist.format.values import pack_record, unpack_record
from kist.model.parts import tablesink
from kist.model.tables.stored.records import TAIL_ROW, GroupRecord, Tail

KEY, OTHER, THIRD = (bytes(range(at, at + 32)) for at in (0, 32, 64))
BOTH = [KEY, OTHER]
FIELDS = {("name", "text"): KEY, "x": OTHER}
DTYPE = {"id": "i8", "name": "S8", "text": np.dtypes.StringDType(), "x": "f8"}


@pytest.fixture(autouse=True)
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


def rows_of(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    names = rng.integers(0, 50, n).astype("S8")
    text = np.array([f"secret-{seed}-{at % 7}" for at in range(n)], DTYPE["text"])
    return {"id": np.arange(n), "name": names, "text": text, "x": rng.normal(size=n)}


def make(path: Path, n: int = 192, seed: int = 0, encrypt: Any = None, edit: bool = False) -> Path:
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(n, seed), dtype=DTYPE, encrypt=encrypt or FIELDS)
        if edit:
            t.append(rows_of(9, seed + 100))
            t["name"][70:73] = b"patched"
            t["x"][3] = -1.5
            t.delete([5, 130, 131])
            t.create_index("id")
    return path


def whole(path: Any, secrets: Any = BOTH) -> dict[str, Any]:
    with kist.open(path, secrets=secrets) as store:
        report = store.check()
        assert report.ok, report
        return {name: store["t"][name][:] for name in store["t"].columns}


def same(found: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.concatenate([one[name] for one in expected]))


def locks(path: Any) -> list[Lock]:
    with kist.open(path) as store:
        node = store["t"]._id
        engine = store._session.engine
        with engine.snapshot() as view:
            return [
                Lock.unpack(unpack_record(view.get(keys.lock(node, field)))[1]) for field in (1, 2)
            ]


def payloads(path: Any) -> set[bytes]:
    """Sealed records of pages: each holds the salt of its body."""
    with kist.open(path) as store, store._session.engine.snapshot() as view:
        found = view.scan(*keys.prefix_range(keys.node(store["t"]._id)[:8] + b"P"))
        return {
            unpack_record(value)[1] for _, value in found if unpack_record(value)[1][:2] == b"KS"
        }


@pytest.mark.parametrize("edit", [False, True])
def test_parts_open_with_the_secrets_of_the_table_and_make_it_again(
    path: Path, tmp_path: Path, edit: bool
) -> None:
    expected = whole(make(path, edit=edit))
    names = kist.split(path, "t", rows=50, out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
    same({name: expected[name] for name in expected}, [whole(name) for name in names])
    with kist.open(names[0]) as store:
        assert store["t"].sealed == {"name": ("1",), "text": ("1",), "x": ("1",)}
        assert len(store["t"].indexes) == edit
        assert store["t"]["id"][:3].tolist() == [0, 1, 2]
        with pytest.raises(SecretError, match="no secret was given"):
            store["t"]["x"][:]
    out = tmp_path / "m.kist"
    kist.merge(names, out, secrets={"t/name": KEY, "t/text": KEY, "x": OTHER})
    same(whole(out), [expected])
    with kist.open(out, "r+", secrets=BOTH) as store:
        store["t"].append(rows_of(3, 5))
        store["t"]["x"][0] = 4.0
    assert len(whole(out)["x"]) == len(expected["x"]) + 3


def test_row_groups_go_along_as_bytes_and_none_is_decoded(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    make(path)
    before = payloads(path)
    decoded.clear()
    names = kist.split(path, "t", rows=64, out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
    kist.merge(names, tmp_path / "m.kist", secrets=BOTH)
    assert decoded == []
    assert len(before) == 9 and before == payloads(tmp_path / "m.kist")
    kist.split(path, "t", at=[100], out=str(tmp_path / "q-{}.kist"), secrets=BOTH)
    assert len(set(decoded)) == 4  # the group that is cut: a page of each column


def test_tables_under_other_keys_are_sealed_anew_and_not_decoded(
    path: Path, tmp_path: Path, decoded: list[int]
) -> None:
    """The keys of the second table would open what is in its own file, now and later."""
    make(path, seed=1)
    other = make(tmp_path / "b.kist", 128, 2, {("name", "text"): THIRD, "x": OTHER})
    expected = [whole(path), whole(other, [THIRD, OTHER])]
    decoded.clear()
    out = tmp_path / "m.kist"
    kist.merge([path, other], out, secrets=[KEY, OTHER, THIRD])
    assert decoded == []
    same(whole(out), expected)
    assert locks(out) == locks(path)
    assert payloads(path) < payloads(out) and not payloads(other) & payloads(out)
    with kist.open(out, secrets=THIRD) as store, pytest.raises(WrongSecretError):
        store["t"]["name"][:]


def test_patches_and_pieces_under_other_keys_are_taken_along(path: Path, tmp_path: Path) -> None:
    make(path, 64)
    other = make(tmp_path / "b.kist", 150, 3, {("name", "text"): THIRD, "x": THIRD}, edit=True)
    kist.merge([path, other], tmp_path / "m.kist", secrets=[KEY, OTHER, THIRD])
    same(whole(tmp_path / "m.kist"), [whole(path), whole(other, THIRD)])


def test_parts_of_a_table_whose_keys_were_rotated_are_one_again(path: Path, tmp_path: Path) -> None:
    expected = whole(make(path, edit=True))
    names = kist.split(path, "t", rows=64, out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
    with kist.open(names[1], "r+", secrets=BOTH) as store:
        store["t"].rotate("x", {"new": THIRD}, now=True)
    kist.merge(names, tmp_path / "m.kist", secrets=[KEY, OTHER, THIRD])
    same(whole(tmp_path / "m.kist"), [expected])


def test_a_large_table_is_made_in_several_commits_each_of_them_vouched_for(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(make(path, 640))
    monkeypatch.setattr(tablesink, "_RECORDS", 10)
    monkeypatch.setattr(tablesink, "_GROUPS", 2)
    kist.merge([path, path], tmp_path / "m.kist", secrets=BOTH)
    same(whole(tmp_path / "m.kist"), [expected, expected])


@pytest.mark.parametrize("secrets", [None, KEY, [KEY, THIRD]], ids=["none", "one", "wrong"])
def test_without_all_secrets_nothing_is_made(path: Path, tmp_path: Path, secrets: Any) -> None:
    make(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SecretError, match="split and merged with all of its secrets") as caught:
        kist.split(path, "t", rows=64, out=str(tmp_path / "p-{}.kist"), secrets=secrets)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    del shown.stack[0]  # that of the caller, who has it in a variable
    assert repr(KEY)[2:-1] not in "".join(shown.format())
    with pytest.raises(SecretError, match=r"\.kist': '/t' column"):
        kist.merge([path, path], tmp_path / "m.kist", secrets=secrets)
    assert sorted(tmp_path.iterdir()) == before


def test_no_file_is_named_after_a_sealed_value(path: Path, tmp_path: Path) -> None:
    make(path)
    with pytest.raises(SecretError, match="name files after the values"):
        kist.split(path, "t", by="name", out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
    assert not list(tmp_path.glob("p-*"))


def test_a_table_is_split_by_an_open_column(path: Path, tmp_path: Path) -> None:
    rows = {"kind": np.arange(200) // 64 % 2, "v": np.arange(200.0)}
    with kist.open(path, "w") as store:
        store.create_table("t", rows, encrypt={"v": KEY})
    names = kist.split(path, "t", by="kind", out=str(tmp_path / "p-{}.kist"), secrets=KEY)
    for kind, name in enumerate(names):
        np.testing.assert_array_equal(whole(name, KEY)["v"], rows["v"][rows["kind"] == kind])


def test_secrets_are_for_files_that_are_opened_here(path: Path, tmp_path: Path) -> None:
    expected = whole(make(path))
    with kist.open(path, secrets=BOTH) as store:
        with pytest.raises(SecretError, match="is open"):
            kist.split(store, "t", rows=64, out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
        names = kist.split(store, "t", rows=64, out=str(tmp_path / "p-{}.kist"))
        kist.merge([store["t"]], tmp_path / "m.kist")
    same(expected, [whole(name) for name in names])
    same(whole(tmp_path / "m.kist"), [expected])


def test_what_is_sealed_here_and_open_there_is_not_merged_by_accident(
    path: Path, tmp_path: Path
) -> None:
    make(path, 20)
    with kist.open(tmp_path / "open.kist", "w") as store:
        store.create_table("t", rows_of(30, 4), dtype=DTYPE)
    with pytest.raises(DTypeError, match=r"~ x: float64, sealed \(field 2\) -> float64"):
        kist.merge([path, tmp_path / "open.kist"], tmp_path / "m.kist", secrets=BOTH)
    with pytest.raises(SecretError, match="come to stand in clear"):
        kist.merge([tmp_path / "open.kist", path], tmp_path / "m.kist", secrets=BOTH, cast=True)
    assert not (tmp_path / "m.kist").exists()
    kist.merge([path, tmp_path / "open.kist"], tmp_path / "m.kist", secrets=BOTH, cast=True)
    same(whole(tmp_path / "m.kist"), [whole(path), rows_of(30, 4)])
    assert b"secret-4-" not in (tmp_path / "m.kist").read_bytes()


# Attacks. Parts have the same keys, so that only their manifests keep them apart.


def edit_part(name: str, other: str, edit: Callable[[Any, int, Any, int], None]) -> None:
    """Let an engine without keys change the records of a part, with another one beside it."""
    with kist.open(name) as store, kist.open(other) as beside:
        nodes = store["t"]._id, beside["t"]._id
    engine, source = Engine.open(name, "r+"), Engine.open(other, "r")
    try:
        with source.snapshot() as view:
            txn = engine.begin()
            edit(txn, nodes[0], view, nodes[1])
            txn.commit()
    finally:
        engine.close()
        source.close()


def take(txn: Any, key: bytes, view: Any, value: bytes) -> None:
    """Put a record of another file, with copies of its extents."""
    from kist.engine import Frame

    pointers, payload = unpack_record(value)
    frames = []
    for p in pointers:
        body = view.reader.read_part(p, 0, p.length)
        frames.append(Frame(FRAME_SEALED, 9, 0, 0, body[: p.head], (body[p.head :],)))
    txn.put(key, pack_record(payload, txn.write(frames)))


def page_of_another_part(txn: Any, node: int, view: Any, other: int) -> None:
    mine = next(
        k for k, v in txn.scan(*keys.prefix_range(keys.node(node)[:8] + b"P")) if is_sealed(v)
    )
    theirs = view.get(keys.node(other)[:8] + mine[8:])
    take(txn, mine, view, theirs)


def all_pages_and_the_manifest_of_another_part(txn: Any, node: int, view: Any, other: int) -> None:
    prefix = keys.node(node)[:8]
    for key, value in view.scan(*keys.whole_node(other)):
        if keys.kind_of(key) in b"PE":
            take(txn, prefix + key[8:], view, value)


def a_row_group_is_gone(txn: Any, node: int, view: Any, other: int) -> None:
    first, value = next(iter(txn.scan(*keys.groups(node))))
    key = keys.group(node, TAIL_ROW)
    tail = Tail.unpack(unpack_record(txn.get(key))[1])
    n_live = tail.n_live - GroupRecord.unpack(unpack_record(value)[1]).n_live
    txn.delete(first)
    txn.put(key, pack_record(tail._replace(n_live=n_live).pack()))


def is_sealed(value: bytes) -> bool:
    return unpack_record(value)[1][:2] == b"KS"


ATTACKS = [
    page_of_another_part,
    all_pages_and_the_manifest_of_another_part,
    a_row_group_is_gone,
]


@pytest.mark.parametrize("edit", ATTACKS, ids=lambda edit: edit.__name__)
def test_parts_that_were_changed_without_the_secrets_are_seen_when_read_and_merged(
    path: Path, tmp_path: Path, edit: Callable[..., None]
) -> None:
    make(path, 256)
    names = kist.split(path, "t", rows=128, out=str(tmp_path / "p-{}.kist"), secrets=BOTH)
    edit_part(names[0], names[1], edit)
    with kist.open(names[0], secrets=BOTH) as store, pytest.raises(TamperedDataError):
        store["t"]["x"][:]
        store["t"]["name"][:]
    with pytest.raises(TamperedDataError, match=r"p-1\.kist|p-0001\.kist"):
        kist.merge(names, tmp_path / "m.kist", secrets=BOTH)
    assert not (tmp_path / "m.kist").exists()
