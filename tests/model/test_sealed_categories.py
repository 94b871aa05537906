"""Sealed categorical columns: their lists are sealed too, and cannot be exchanged."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.engine import Engine, Frame
from kist.errors import CorruptDataError, DTypeError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.layout import FRAME_BLOB
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored import sealedlists

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
NAMES = ["Annabelle", "Bobbington", "Annabelle", None, "Evelynn"]
COLOURS = ["vermilion", "vermilion", "turquoise", None, "turquoise"]
WORDS = [b"Annabelle", b"Bobbington", b"Evelynn", b"vermilion", b"turquoise", b"Hieronymus"]
SPEC = {"id": "i4", "name": kist.categorical(), "colour": kist.enum(["vermilion", "turquoise"])}


def rows(names: list[Any] = NAMES) -> dict[str, Any]:
    n = len(names)
    return {"id": np.arange(n), "name": names, "colour": (COLOURS * n)[:n]}


@pytest.fixture
def sealed(path: Path) -> Path:
    with kist.open(path, "w", retain=10) as store:
        for name in ("t", "u"):
            store.create_table(name, rows(), dtype=SPEC, encrypt={("name", "colour"): KEY})
    return path


def list_of(view: Any, node: int, name: str) -> tuple[bytes, bytes]:
    """The record with the categories of a column."""
    leaf = {"name": 1, "colour": 2}[name]
    found = list(view.scan(*keys.prefix_range(keys.schema(node)[:8] + b"Y")))
    leaves = sorted({keys.leaf_of(key) for key, _ in found})
    return next(pair for pair in found if keys.leaf_of(pair[0]) == leaves[leaf - 1])


@pytest.mark.parametrize("encrypt", [None, {("name", "colour"): KEY}, KEY])
def test_no_category_stands_in_the_file(encrypt: Any, path: Path) -> None:
    with kist.open(path, "w", retain=10) as store:
        t = store.create_table("t", rows(), dtype=SPEC, encrypt=encrypt)
        t.append(rows(["Hieronymus"]))
        t["name"][0] = "Hieronymus"
        t["name"].add_categories(["Ferdinand"])
        t["name"].rename_categories({"Bobbington": "Bartholomew"})
        t.create_index("name")
        assert t.where("name == 'Hieronymus'")["id"][:].tolist() == [0, 0]
    data = path.read_bytes()
    words = [*WORDS, b"Ferdinand", b"Bartholomew"]
    assert [word in data for word in words] == [encrypt is None] * len(words)
    with kist.open(path, secrets=KEY) as store:
        t = store["t"]
        assert t["name"][:].tolist()[:3] == ["Hieronymus", "Bartholomew", "Annabelle"]
        assert t["colour"][:].tolist()[:4] == COLOURS[:4]
        assert t.where("name == 'Annabelle'")["id"][:].tolist() == [2]
        assert store.check().ok


def test_frames_leave_no_category_in_what_they_note(path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"id": [1, 2], "name": pandas.Categorical(["Annabelle", "Evelynn"])})
    with kist.open(path, "w") as store:
        store.create_table("t", frame, encrypt={"name": KEY})
        assert store["t"].to_pandas()["name"].tolist() == ["Annabelle", "Evelynn"]
    assert not any(word in path.read_bytes() for word in WORDS)


def test_without_the_secret_open_columns_are_read_and_no_list(sealed: Path) -> None:
    with kist.open(sealed) as store:
        t = store["t"]
        assert t["id"][:].tolist() == [0, 1, 2, 3, 4]
        assert t.where("id > 2")["id"][:].tolist() == [3, 4]
        assert "n_categories" not in t.info["columns"]["name"]
        assert "Annabelle" not in repr(t) + t._repr_html_()
        looks: list[Callable[[], object]] = [
            lambda: t["name"][:],
            lambda: t["name"].categories,
            lambda: t["name"].codes[:],
            lambda: t.where("name == 'Annabelle'")["id"][:],
            lambda: t.where("colour == 'turquoise'").count(),
            lambda: t["name"].nunique(),
            lambda: t[:],
        ]
        for look in looks:
            with pytest.raises(SecretError):
                look()
        assert store.check().ok
    with kist.open(sealed, secrets=KEY) as other, kist.open(sealed) as store:
        assert other["t"]["name"].categories.tolist() == ["Annabelle", "Bobbington", "Evelynn"]
        with pytest.raises(SecretError):  # what another handle has opened is not found
            store["t"]["name"].categories  # noqa: B018


def test_what_brings_nothing_new_looks_no_other(sealed: Path) -> None:
    """An observer of both versions does not see whether a row had a value that was there."""
    seen = []
    with kist.open(sealed, "r+", secrets=KEY) as store:
        t = store["t"]
        for change in (
            lambda: None,
            lambda: t.append(rows(["Annabelle"])),
            lambda: t.append(rows(["Ferdinand"])),
            lambda: t.append(rows([None])),
            lambda: t.__setitem__(0, (9, "Evelynn", None)),
        ):
            change()
            seen.append([list_of(t._view(), t._id, name) for name in ("name", "colour")])
        assert t.append(rows([])) in (0, None)
        assert t["name"][:].tolist()[-3:] == ["Annabelle", "Ferdinand", None]
    for number in range(2):
        pairs = [each[number] for each in seen]
        assert len({key for key, _ in pairs}) == 1
        assert len({len(value) for _, value in pairs}) == 1
        assert len({value for _, value in pairs}) == len(pairs)


def test_long_lists_stand_in_an_extent_and_are_sealed_anew_when_they_grow(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"somebody number {i}" for i in range(3_000)]
    monkeypatch.setattr(sealedlists, "CHEAP_BYTES", 1_000)
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows(names), dtype=SPEC, encrypt={"name": KEY})
        first = list_of(t._view(), t._id, "name")
        t.append(rows(names[:3]))
        assert list_of(t._view(), t._id, "name") == first
        t.append(rows(["Annabelle"]))
        assert list_of(t._view(), t._id, "name") != first
        with pytest.raises(ZeroDivisionError), store.transaction():
            t.append(rows(["Bobbington"]))
            raise ZeroDivisionError
        assert "Bobbington" not in t["name"].categories
    assert b"somebody" not in path.read_bytes()
    with kist.open(path, "r+", secrets=KEY) as store:
        store.compact()
        assert store["t"]["name"][:].tolist() == [*names, *names[:3], "Annabelle"]
        assert store.check().ok


def test_a_longer_list_is_padded_by_a_share_of_its_length() -> None:
    sizes = {len(sealedlists._padded(bytes(n))) for n in range(40_000, 40_900, 50)}
    assert sizes == {40_960}


# Attacks


def test_a_list_in_several_pieces_is_tampering(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = sealedlists.seal_record

    def twice(key: Any, payload: bytes, frames: Any) -> Any:
        return original(key, payload, [*frames, Frame(FRAME_BLOB, 1, 0, 0, b"Mallory")])

    monkeypatch.setattr(sealedlists, "seal_record", twice)
    with kist.open(path, "w") as store:
        store.create_table("t", rows(), dtype=SPEC, encrypt={"name": KEY})
    with kist.open(path, secrets=KEY) as store, pytest.raises(TamperedDataError, match="pieces"):
        store["t"]["name"][:]


def test_a_list_that_is_shorter_than_it_says_is_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealedlists, "_padded", lambda p: sealedlists._LENGTH.pack(len(p) + 4) + p)
    with kist.open(path, "w") as store:
        store.create_table("t", rows(), dtype=SPEC, encrypt={"name": KEY})
    with kist.open(path, secrets=KEY) as store, pytest.raises(CorruptDataError, match="say"):
        store["t"]["name"][:]


def _old_list(txn: Any, node: int, older: Any) -> None:
    key, _ = list_of(txn, node, "name")
    pointers, payload = unpack_record(list_of(older, node, "name")[1])
    assert not pointers
    txn.put(key, pack_record(payload))


def _no_list(txn: Any, node: int, older: Any) -> None:
    txn.delete(list_of(txn, node, "name")[0])


def _swapped(txn: Any, node: int, older: Any) -> None:
    (one, a), (other, b) = (list_of(txn, node, name) for name in ("name", "colour"))
    txn.put(one, b)
    txn.put(other, a)


def _of_another_table(txn: Any, node: int, older: Any) -> None:
    other = next(
        keys.node_of(key)
        for key, _ in txn.scan(keys.node(node + 1), b"\xff" * 8)
        if keys.kind_of(key) == b"S"
    )
    txn.put(list_of(txn, node, "name")[0], list_of(txn, other, "name")[1])


def _in_clear(txn: Any, node: int, older: Any) -> None:
    from kist.format.plain import pack_value

    txn.put(list_of(txn, node, "name")[0], pack_record(pack_value(["Mallory", "Trudy", "Eve"])))


def _second_run(txn: Any, node: int, older: Any) -> None:
    key, value = list_of(txn, node, "name")
    txn.put(keys.category_run(node, keys.leaf_of(key), 4), value)


@pytest.mark.parametrize(
    "edit", [_old_list, _no_list, _swapped, _of_another_table, _in_clear, _second_run]
)
def test_a_list_that_is_exchanged_is_noticed(
    edit: Callable[[Any, int, Any], None], sealed: Path
) -> None:
    with kist.open(sealed, "r+", secrets=KEY) as store:
        store["t"]["name"].rename_categories({"Annabelle": "Mallory", "Evelynn": "Annabelle"})
        node, commit = store["t"]._id, store.commit_id
    engine = Engine.open(sealed, "r+")
    try:
        with kist.open(sealed, version=commit - 1) as before:
            older = before["t"]._view()
            txn = engine.begin()
            edit(txn, node, older)
            txn.commit()
    finally:
        engine.close()
    with kist.open(sealed, "r+", secrets=KEY) as store:
        t = store["t"]
        looks: list[Callable[[], object]] = [
            lambda: t["name"][:],
            lambda: t["name"].categories,
            lambda: t.where("name == 'Annabelle'").count(),
            lambda: t.append(rows(["Annabelle"])),
            lambda: kist.split(store, "t", parts=2, out=str(sealed.parent / "part-{}.kist")),
        ]
        for look in looks:
            with pytest.raises(TamperedDataError):
                look()
        if edit is not _of_another_table:
            assert store["u"]["name"][:].tolist() == NAMES
    assert not list(sealed.parent.glob("part-*"))


# What becomes of it elsewhere


def test_rotating_seals_the_list_under_the_new_key(sealed: Path) -> None:
    with kist.open(sealed, "r+", secrets=KEY) as store:
        t = store["t"]
        before = list_of(t._view(), t._id, "name")
        t.rotate("name", {"new": OTHER}, now=True)
        after = list_of(t._view(), t._id, "name")
        # Bytes 24 to 40 of a sealed head name the data key.
        old, new = (unpack_record(value)[1][16:32] for _, value in (before, after))
        assert old != new
    with kist.open(sealed, secrets=OTHER) as store:
        assert store["t"]["name"][:].tolist() == NAMES and store.check().ok
    with kist.open(sealed, secrets=KEY) as store, pytest.raises(SecretError):
        store["t"]["name"][:]


def test_copies_parts_and_merged_tables_have_sealed_lists(sealed: Path) -> None:
    folder = sealed.parent
    other = folder / "other.kist"
    with kist.open(other, "w") as store:
        names = ["Hieronymus", "Annabelle"]
        store.create_table("t", rows(names), dtype=SPEC, encrypt={("name", "colour"): OTHER})
    with kist.open(sealed, "r+", secrets=KEY) as store:
        store.copy("t", "copy")
        assert store["copy"]["name"][:].tolist() == NAMES
    parts = kist.split(sealed, "t", parts=2, out=str(folder / "part-{}.kist"), secrets=KEY)
    both = [KEY, OTHER]
    kist.merge([*parts, other], folder / "merged.kist", "t", secrets=both)
    with kist.union([*parts, other], "t", secrets=both) as union:
        assert union["name"][:].tolist() == [*NAMES, "Hieronymus", "Annabelle"]
        assert union.where("name == 'Annabelle'").count() == 3
    with kist.open(folder / "merged.kist", secrets=KEY) as store:
        assert store["t"]["name"][:].tolist() == [*NAMES, "Hieronymus", "Annabelle"]
        assert store.check().ok
    for file in folder.glob("*.kist"):
        assert not any(word in file.read_bytes() for word in WORDS), file


def test_a_link_asks_its_parts_for_the_list(sealed: Path) -> None:
    folder = sealed.parent
    kist.split(sealed, "t", parts=2, out=str(folder / "part-{}.kist"), secrets=KEY)
    with kist.open(folder / "part-3.kist", "w") as store:
        names = ["Hieronymus", None, "Bobbington"]
        store.create_table("t", rows(names), dtype=SPEC, encrypt={("name", "colour"): OTHER})
    every = [*NAMES, *names]
    with kist.open(folder / "links.kist", "w", secrets=[KEY, OTHER]) as store:
        store.create_union("all", "t", files="part-*.kist")
    with kist.open(folder / "links.kist", secrets=[KEY, OTHER]) as store:
        table = store["all"]
        assert table.where("id == 2")["id"][:].tolist() == [2, 2] and table.n_open == 2
        assert table["name"][:].tolist() == every and table.n_open == 3
        assert sorted(table["name"].categories.tolist()) == sorted({*every} - {None})
        assert table["colour"][:].tolist() == [*COLOURS, *COLOURS[:3]]
        assert table.where("name == 'Bobbington'")["id"][:].tolist() == [1, 2]
        assert table.where("colour == 'turquoise'").count() == 3
        assert table.group_by("name").count()["count"].sum() == len(every)
        assert table[2:7]["name"].tolist() == every[2:7]
        assert table.sort_by("name")["name"][0] == "Annabelle"
        again = pickle.loads(pickle.dumps(table))
        assert again["id"][:].tolist() == [*range(5), *range(3)]  # secrets are in no pickle
        with pytest.raises(SecretError):
            again["name"][:]
    for secrets in (None, KEY):
        with kist.open(folder / "links.kist", secrets=secrets) as store:
            assert store["all"]["id"][:].tolist() == [*range(5), *range(3)]
            for ask in (
                lambda table: table["name"][:],
                lambda table: table.where("name == 'Evelynn'").count(),
                lambda table: table["name"].categories,
                lambda table: table[:],
            ):
                with pytest.raises(SecretError):
                    ask(store["all"])
            assert "SecretError" in repr(store["all"]["name"])
    assert not any(word in (folder / "links.kist").read_bytes() for word in WORDS)


def test_lists_of_parts_that_do_not_fit_are_told_when_they_are_read(sealed: Path) -> None:
    folder = sealed.parent
    kist.split(sealed, "t", parts=1, out=str(folder / "part-{}.kist"), secrets=KEY)
    with kist.open(folder / "part-2.kist", "w") as store:
        spec = {**SPEC, "colour": kist.enum(["turquoise", "vermilion"])}
        store.create_table("t", rows(), dtype=spec, encrypt={("name", "colour"): KEY})
    with kist.open(folder / "links.kist", "w", secrets=KEY) as store:
        store.create_union("all", "t", files="part-*.kist")
        assert len(store["all"]["name"][:]) == 10
        with pytest.raises(DTypeError, match="order of the categories"):
            store["all"]["colour"][:]


def test_rows_do_not_leave_for_an_open_table(sealed: Path) -> None:
    with kist.open(sealed, "r+", secrets=KEY) as store:
        with pytest.raises(SecretError):
            store.create_table("v", store["t"])
        assert "v" not in store


def test_in_a_sealed_group(path: Path) -> None:
    with kist.open(path, "w") as store:
        group = store.create_group("ward", encrypt=KEY)
        t = group.create_table("t", rows(), dtype=SPEC)
        t.append(rows(["Hieronymus"]))
    assert not any(word in path.read_bytes() for word in WORDS)
    with kist.open(path, "r+", secrets={"ward": KEY}) as store:
        t = store["ward/t"]
        assert t["name"][:].tolist() == [*NAMES, "Hieronymus"]
        store["ward"].rotate({"new": OTHER}, now=True)
        assert t["name"].categories.tolist()[-1] == "Hieronymus"
        assert store.check().ok
    with kist.open(path) as store:
        assert store.check().ok
        with pytest.raises(SecretError):
            store["ward/t"]["name"].categories  # noqa: B018


def test_salvage_names_it_among_what_is_missing(sealed: Path) -> None:
    out = sealed.parent / "saved.kist"
    report = kist.salvage(sealed, out)
    assert "sealed" in str(report)
    with kist.open(out) as store:
        assert store["t"]["id"][:].tolist() == [0, 1, 2, 3, 4]
        assert "name" not in store["t"].dtype.names
