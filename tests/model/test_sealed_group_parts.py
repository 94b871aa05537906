"""Datasets of sealed groups, split and merged: the group goes along, its keys open the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.format import keys

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
WORDS = b"Ann Smith has it"
N = 70_000
ROWS = np.zeros(N, "i4,S16")
ROWS["f0"] = np.arange(N)
ROWS["f1"] = WORDS
SCANS = np.arange(60_000).reshape(300, 200)
PATHS = ("hospital/ward/rows", "hospital/ward/june/scans", "hospital/ward/runs")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        ward = store.create_group("hospital/ward", encrypt={"lab": KEY}, attrs={"of": "secret"})
        ward["rows"] = ROWS
        ward["rows"].attrs["of"] = WORDS.decode()
        ward["rows"]["f0"].attrs["unit"] = WORDS.decode()
        ward["rows"].create_index("f0")
        ward["june/scans"] = SCANS
        ward["june"].attrs["of"] = WORDS.decode()
        ward["one"] = np.array(5.5)
        ward.create_keystore("runs").update({f"k{i:02}": np.arange(i) for i in range(20)})
        ward.add_secret("four random words here", label="doctor")
        store["hospital/open"] = [1, 2]
    return path


def parts_of(file: Path, path: str, **how: Any) -> list[str]:
    out = file.parent / f"{path.rpartition('/')[2]}-{{}}.kist"
    return kist.split(file, path, out=out, **(how or {"parts": 3}), secrets=KEY)


def shown(node: Any) -> Any:
    return (
        {k: v.tolist() for k, v in node.items()} if node.kind == "key store" else node[:].tolist()
    )


@pytest.mark.parametrize("path", PATHS)
def test_parts_stand_in_the_group_and_open_with_each_of_its_secrets(file: Path, path: str) -> None:
    names = parts_of(file, path)
    assert len(names) == 3
    merged = file.parent / "merged.kist"
    kist.merge(names, merged, secrets=KEY)
    with kist.open(file, secrets=KEY) as store:
        wanted, attrs = shown(store[path]), dict(store[path].attrs)
    for name in [*names, merged]:
        assert WORDS not in Path(name).read_bytes() and b"k01" not in Path(name).read_bytes()
        with kist.open(name) as store, pytest.raises(SecretError, match="no secret was given for"):
            shown(store[path])
        with kist.open(name, secrets=OTHER) as store, pytest.raises(WrongSecretError):
            shown(store[path])
        for secrets in ({"hospital/ward": KEY}, "four random words here"):
            with kist.open(name, "r+", secrets=secrets) as store:
                assert store["hospital/ward"].sealed == ("lab", "doctor")
                assert not store.check().problems
                assert dict(store[path].attrs) == attrs
                store["hospital/ward"].attrs["seen"] = True
        with kist.open(name, secrets=KEY) as store:
            assert list(store["hospital"]) == ["ward"]  # nothing else of the group came along
            assert len(shown(store[path])) > 0
    with kist.open(merged, secrets=KEY) as store:
        assert shown(store[path]) == wanted


def test_rows_columns_and_indexes_of_a_part_go_on(file: Path) -> None:
    first, *_ = parts_of(file, PATHS[0], rows=30_000)
    with kist.open(first, "r+", secrets=KEY) as store:
        rows = store[PATHS[0]]
        assert rows["f0"].attrs.unit == WORDS.decode()
        assert [index.name for index in rows.indexes] == ["f0"]
        rows.append((-1, b"more"))
        assert rows.where("f0 == -1")[:].tolist() == [(-1, b"more")]
        store["hospital/ward"].rotate({"new": OTHER}, now=True)
    with kist.open(first, secrets=OTHER) as store:
        assert len(store[PATHS[0]]) == 30_001 and not store.check().problems


def test_pages_go_along_as_bytes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kist.codecs.pipeline as pipeline

    decoded: list[int] = []
    real = pipeline.decode
    for module in ("kist.codecs.pipeline", "kist.engine.pages"):
        monkeypatch.setattr(f"{module}.decode", lambda *a: (decoded.append(1), real(*a))[1])
    with kist.open(file, secrets=KEY) as store:
        assert store[PATHS[1]][7, 7] == 1407
        assert decoded  # it counts
        edges = store[PATHS[1]].chunks[0]
        decoded.clear()
        kist.split(store, PATHS[1], rows=edges, out=file.parent / "cut-{}.kist")
        kist.split(store, PATHS[0], at=[65_536], out=file.parent / "cut-{}.kist", overwrite=True)
    indexed = 2  # the column with an index is read, to make that of each part
    assert len(decoded) <= indexed


def test_whole_stores_with_sealed_groups_are_merged(file: Path) -> None:
    out = file.parent / "all.kist"
    kist.merge([file], out, secrets=KEY)
    with kist.open(out, secrets={"hospital/ward": KEY}) as store:
        ward = store["hospital/ward"]
        assert dict(ward.attrs) == {"of": "secret"} and dict(ward["june"].attrs) == {
            "of": WORDS.decode()
        }
        assert ward["one"][()] == 5.5 and store["hospital/open"][:].tolist() == [1, 2]
        assert ward["rows"][:].tolist() == ROWS.tolist()
        assert not store.check().problems
    assert WORDS not in out.read_bytes()


def test_without_the_secret_nothing_is_written_and_the_file_is_named(file: Path) -> None:
    before = sorted(path.name for path in file.parent.iterdir())
    for secrets in (None, OTHER):
        for path in PATHS:
            with pytest.raises(SecretError, match=r"split and merged with its secret"):
                kist.split(file, path, parts=2, out=file.parent / "p-{}.kist", secrets=secrets)
        with pytest.raises(SecretError, match=r"a\.kist"):
            kist.merge([file], file.parent / "m.kist", secrets=secrets)
    assert sorted(path.name for path in file.parent.iterdir()) == before


def test_groups_of_other_keys_and_open_ones_are_not_mixed(file: Path, tmp_path: Path) -> None:
    other, clear = tmp_path / "other.kist", tmp_path / "clear.kist"
    with kist.open(other, "w") as store:
        ward = store.create_group("hospital/ward", encrypt=OTHER)
        ward["new"], ward["rows"] = [1], ROWS[:10]
    with kist.open(clear, "w") as store:
        store["hospital/ward/new"] = ROWS[:3]
    out = tmp_path / "out.kist"
    for sources, match in (
        ([file, other], r"other\.kist.*a group with other keys"),
        ([file, clear], r"clear\.kist.*in none of this one"),
        ([clear, file], r"a\.kist.*'/hospital/ward' of the first store is a group:"),
    ):
        with pytest.raises(SecretError, match=match):
            kist.merge(sources, out, secrets=[KEY, OTHER])
        assert not out.exists()
    # One dataset under two keys: sealed anew under those of the first.
    kist.merge([file, other], out, PATHS[0], secrets=[KEY, OTHER])
    with kist.open(out, secrets=KEY) as store:
        assert store[PATHS[0]][-10:].tolist() == ROWS[:10].tolist()
        assert not store.check().problems


def test_a_new_path_needs_a_group_to_be_sealed(file: Path, tmp_path: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        with pytest.raises(SecretError, match=r"give a path= in a group"):
            kist.merge([store[PATHS[0]]], tmp_path / "m.kist", "rows")
        kist.merge([store[PATHS[0]]], tmp_path / "m.kist", "other/rows")
    with kist.open(tmp_path / "m.kist", secrets={"other": KEY}) as store:
        assert store["other"].sealed == ("lab", "doctor") and len(store["other/rows"]) == N


def test_what_was_pasted_into_the_group_is_not_taken_along(file: Path) -> None:
    with kist.open(file, "r+") as store, store.transaction():
        txn: Any = store._view()
        node = store["hospital/ward/rows"]._id
        txn.delete(keys.manifest(node, keys.PLACE))
    before = sorted(path.name for path in file.parent.iterdir())
    with pytest.raises(TamperedDataError):
        kist.split(file, PATHS[0], parts=2, out=file.parent / "p-{}.kist", secrets=KEY)
    with pytest.raises(TamperedDataError):
        kist.merge([file], file.parent / "m.kist", secrets=KEY)
    assert sorted(path.name for path in file.parent.iterdir()) == before
