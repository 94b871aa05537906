"""The second reader agrees with every vector of sealed bodies and locks."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import Engine
from kist.format import keys

HERE = Path(__file__).resolve().parent
VECTORS = sorted((HERE.parent / "golden" / "sealed").glob("*.json"))

pytest.importorskip("cryptography")
sys.path.insert(0, str(HERE.parents[1] / "contrib" / "reader"))

from kist_reader import Reader  # noqa: E402
from kist_sealed import Tampered, WrongSecret, open_lock, unseal  # noqa: E402
from kist_types import Damage, KistError, Unknown  # noqa: E402

FAILURES = {
    "damage": Damage,
    "unsupported": Unknown,
    "tampered": Tampered,
    "wrong secret": WrongSecret,
}


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_a_vector_opens_or_fails_as_it_says(path: Path) -> None:
    vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    expect = vector["expect"]
    keys = {bytes.fromhex(n): bytes.fromhex(k) for n, k in vector.get("keys", {}).items()}

    def run() -> object:
        if "body" in vector:
            return hashlib.sha256(unseal(b64decode(vector["body"]), keys)).hexdigest()
        given = vector["secret"]
        secret = bytes.fromhex(given["raw"]) if "raw" in given else given["passphrase"]
        return open_lock(b64decode(vector["lock"]), secret)

    if expect in FAILURES:
        with pytest.raises(FAILURES[expect]):
            run()
    elif expect == "plain":
        assert run() == vector["sha256"]
    else:
        assert expect == "opens"
        opened = run()
        assert opened == keys and isinstance(opened, dict) and list(opened) == list(keys)


ATTACKS = sorted((HERE.parent / "golden" / "sealed" / "attacks").glob("*.json"))


@pytest.mark.parametrize("path", ATTACKS, ids=lambda p: p.stem)
def test_an_attack_on_a_file_is_seen(path: Path, tmp_path: Path) -> None:
    vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(vector["secrets"], dict):
        pytest.skip("the second reader takes no secrets by name")
    old = (path.parents[1] / vector["file"]).read_bytes()
    new = bytearray(old[: vector["size"]].ljust(vector["size"], b"\0"))
    for at, what, *n in vector["changes"]:
        part = b64decode(what) if not n else old[what : what + n[0]]
        new[at : at + len(part)] = part
    file, expect = tmp_path / "t.kist", vector["expect"]
    file.write_bytes(new)
    secrets = [bytes.fromhex(one) for one in vector["secrets"]]

    def shown() -> set[str]:
        with Reader(file, secrets) as reader:
            return set(reader.table("/t").dtype.names or ())

    if expect in ("tampered", "damage"):
        with pytest.raises(FAILURES[expect]):
            shown()
    else:
        opened = {"opens": {"a", "b", "c"}, "no secret": {"a", "b"}, "wrong secret": set[str]()}
        assert shown() == {"id"} | opened[expect]


def test_a_file_with_sealed_columns_shows_what_its_secrets_open(
    sealed_golden: Callable[[str], Any],
) -> None:
    golden = sealed_golden("table")
    path, rows = golden.FOLDER / "table.kist", golden.expected()
    for secrets, names in (
        ((), ["id"]),
        ([golden.KEY], ["id", "x", "y"]),
        ([golden.KEY, golden.PHRASE], ["id", "name", "x", "y"]),
    ):
        with Reader(path, secrets) as reader:
            reader.verify()
            shown = reader.table("/t")
            assert list(shown.dtype.names) == names
            for name in names:
                np.testing.assert_array_equal(shown[name], rows[name])


def test_bodies_of_batches_open_as_the_format_says(sealed_golden: Callable[[str], Any]) -> None:
    golden = sealed_golden("batches")
    path = golden.FOLDER / "batches.kist"
    secrets = [golden.KEY, golden.PHRASE]
    with Reader(path, secrets) as reader:
        reader.verify()
        shown = reader.table("/t")
        for name in golden.expected().dtype.names:
            np.testing.assert_array_equal(shown[name], golden.expected()[name])
        np.testing.assert_array_equal(reader.array("/a"), golden.numbers())
    with kist.open(path, secrets=secrets) as store:
        np.testing.assert_array_equal(store["t"][:], golden.expected())
        np.testing.assert_array_equal(store["a"][:], golden.numbers())
        assert store["k"]["two"] == "text" and store["k"]["one"].tolist() == [0, 1, 2, 3, 4]
        assert not store.check().problems


def test_sealed_categories_are_shown_with_their_secret_only(
    sealed_golden: Callable[[str], Any],
) -> None:
    golden = sealed_golden("categories")
    path, lists = golden.FOLDER / "categories.kist", golden.lists()
    assert b"person" not in path.read_bytes()
    for secrets, names in (((), ["size"]), ([golden.OTHER], ["size"]), ([golden.KEY], list(lists))):
        with Reader(path, secrets) as reader:
            reader.verify()
            known = reader.categories("/t")
            assert known == {name: lists[name] for name in names}
            rows = reader.table("/t")
            for name in names:
                values = np.array([None, *known[name]], object)[rows[name]["code"]]
                assert values.tolist() == golden.expected()[name]
    with kist.open(path, secrets=golden.KEY) as store:
        t = store["t"]
        for name, values in golden.expected().items():
            shown = t[name].codes[:]
            assert np.array([*lists[name], None], object)[shown].tolist() == values
            assert t[name].categories.tolist() == lists[name]


def test_indexes_on_sealed_columns_say_what_is_sealed(sealed_golden: Callable[[str], Any]) -> None:
    golden = sealed_golden("indexed")
    path = golden.FOLDER / "indexed.kist"
    n, rows = golden.N, golden.rows()
    for secrets, known in (((), []), ([golden.KEY], ["b", "b,c"]), ([golden.OTHER], [])):
        with Reader(path, secrets) as reader:
            reader.verify()
            found = {index.name: index.runs for index in reader.indexes("/t")}
        assert [name for name, runs in found.items() if runs] == ["id", *known]
        for name in known:
            (run,) = found[name]
            assert (run.first, run.stop, run.dirty != b"") == (0, n, True)
            order = np.lexsort((rows["c"], rows["b"]) if name == "b,c" else (rows["b"],))
            np.testing.assert_array_equal(run.keys[0], rows["b"][order].astype("u8"))
            np.testing.assert_array_equal(run.rows, order)
    with kist.open(path, secrets=golden.KEY) as store:
        assert [index.n_indexed for index in store["t"].indexes] == [n, 0, 0]  # all are soiled
        np.testing.assert_array_equal(store["t"]["b"][:], golden.expected()["b"])


def test_a_run_of_a_sealed_index_that_was_taken_away_is_noticed(
    tmp_path: Path, sealed_golden: Callable[[str], Any]
) -> None:
    golden = sealed_golden("indexed")
    path = tmp_path / "t.kist"
    path.write_bytes((golden.FOLDER / "indexed.kist").read_bytes())
    engine = Engine.open(path, "r+")
    txn = engine.begin()
    key, _ = next(txn.scan(*keys.index_runs(2, 2)))
    txn.delete(key)
    txn.commit()
    engine.close()
    with Reader(path, [golden.KEY]) as reader, pytest.raises(Tampered, match="not those"):
        reader.indexes("/t")


def test_a_sealed_store_shows_all_or_nothing(
    tmp_path: Path, sealed_golden: Callable[[str], Any]
) -> None:
    golden = sealed_golden("store")
    path = golden.FOLDER / "store.kist"
    for secrets in ([golden.KEY], [bytes(32), golden.PHRASE]):
        with Reader(path, secrets) as reader:
            reader.verify()
            np.testing.assert_array_equal(reader.table("/group/t"), golden.rows())
            np.testing.assert_array_equal(reader.array("/images"), golden.values())
            assert reader.attributes("/") == {"unit": "m"}
            root = reader.store.root
        with kist.open(path, secrets=secrets) as store:  # and kist agrees
            np.testing.assert_array_equal(store["group/t"][:], golden.rows())
            np.testing.assert_array_equal(store["images"][...], golden.values())
            assert golden.shown(store) == {"attrs": {"unit": "m"}, "n": {"n": 5}}
            assert store.check().ok
    with pytest.raises(WrongSecret):
        Reader(path, [bytes(32)])
    with pytest.raises(KistError, match="give a secret"):
        Reader(path)
    data = bytearray(path.read_bytes())
    place = int.from_bytes(root[:8], "little") & ~63
    data[place + 128 + 600] ^= 1
    (tmp_path / "t.kist").write_bytes(data)
    with pytest.raises(Tampered):
        Reader(tmp_path / "t.kist", [golden.KEY])


def test_a_file_that_was_changed_without_the_secret_is_refused(
    tmp_path: Path, sealed_golden: Callable[[str], Any]
) -> None:
    """A patch is taken away by an engine without keys, every sum made anew."""
    golden = sealed_golden("table")
    path = tmp_path / "t.kist"
    path.write_bytes((golden.FOLDER / "table.kist").read_bytes())
    engine = Engine.open(path, "r+")
    txn = engine.begin()
    node = 2
    key, _ = next(txn.scan(*keys.patches(node)))
    txn.delete(key)
    txn.commit()
    engine.close()
    with Reader(path) as reader:
        reader.verify()
        assert reader.table("/t").dtype.names == ("id",)
    with Reader(path, [golden.KEY]) as reader, pytest.raises(Tampered, match="not those"):
        reader.table("/t")


def test_a_file_with_sealed_arrays_shows_them_with_their_secret_only(
    sealed_golden: Callable[[str], Any],
) -> None:
    golden = sealed_golden("datasets")
    path = golden.FOLDER / "datasets.kist"
    with Reader(path, [golden.KEY]) as reader:
        reader.verify()
        for name, values in golden.values().items():
            np.testing.assert_array_equal(reader.array(f"/{name}"), values)
        assert pickle.dumps(dict(reader.keystore("/runs"))) == pickle.dumps(golden.entries())
        assert list(reader.keystore("/empty")) == []
    for secrets in ([], [golden.PHRASE]):
        with Reader(path, secrets) as reader:
            reader.verify()
            for read in (lambda: reader.array("/few"), lambda: list(reader.keystore("/runs"))):
                with pytest.raises(WrongSecret):
                    read()


def test_a_sealed_dataset_that_was_changed_without_the_secret_is_refused(
    tmp_path: Path, sealed_golden: Callable[[str], Any]
) -> None:
    """A segment and an entry are taken away by an engine without keys."""
    golden = sealed_golden("datasets")
    path = tmp_path / "t.kist"
    path.write_bytes((golden.FOLDER / "datasets.kist").read_bytes())
    with Reader(path) as reader:
        scans, runs = (reader.nodes[name].id for name in ("/scans", "/runs"))
    engine = Engine.open(path, "r+")
    txn = engine.begin()
    txn.delete(next(txn.scan(*keys.segments(scans)))[0])
    (one, _), (_, second), *_ = txn.scan(*keys.items(runs))
    txn.put(one, bytes(1) + second[1 + 44 * second[0] :])
    txn.commit()
    engine.close()
    with Reader(path) as reader:
        reader.verify()
    with Reader(path, [golden.KEY]) as reader:
        with pytest.raises(Tampered, match="not those"):
            reader.array("/scans")
        with pytest.raises(Tampered, match="not those"):
            list(reader.keystore("/runs"))


def shown_of(reader: Any, path: str) -> Any:
    return reader.table(path) if path == "/ward/rows" else reader.array(path)


def test_a_file_with_sealed_groups_shows_them_with_their_secrets_only(
    sealed_golden: Callable[[str], Any],
) -> None:
    golden = sealed_golden("groups")
    path = golden.FOLDER / "groups.kist"
    for secrets, names in (
        ([], ()),
        ([golden.KEY], ("/ward",)),
        ([golden.KEY, golden.OTHER], ("/ward", "/second")),
    ):
        with Reader(path, secrets) as reader:
            reader.verify()
            for name, attrs in golden.attributes().items():
                if name == "/" or name.startswith(names or ("none",)):
                    assert pickle.dumps(reader.attributes(name)) == pickle.dumps(attrs)
                else:
                    with pytest.raises(WrongSecret):
                        reader.attributes(name)
            for name, values in golden.expected().items():
                if name.startswith(names or ("none",)):
                    np.testing.assert_array_equal(shown_of(reader, name), values)
            if names:
                assert reader.column_attributes("/ward/rows") == {"f1": {"of": "people"}}
                assert dict(reader.keystore("/ward/runs"))["a"] == 1
    with kist.open(path, secrets=[golden.KEY, golden.OTHER]) as store:
        for name, values in golden.expected().items():
            np.testing.assert_array_equal(store[name][:], values)
        for name, attrs in golden.attributes().items():
            assert pickle.dumps(dict(store[name].attrs)) == pickle.dumps(attrs)
        assert store.check().ok


def test_a_sealed_group_that_was_changed_without_the_secret_is_refused(
    tmp_path: Path, sealed_golden: Callable[[str], Any]
) -> None:
    golden = sealed_golden("groups")
    whole = (golden.FOLDER / "groups.kist").read_bytes()
    path = tmp_path / "t.kist"
    path.write_bytes(whole)
    with Reader(path) as reader:
        ward, few = reader.nodes["/ward"].id, reader.nodes["/ward/sub/few"].id
    for edit in (
        lambda txn: txn.delete(next(txn.scan(*keys.all_attributes(ward)))[0]),
        lambda txn: txn.delete(keys.manifest(few, keys.PLACE)),
        lambda txn: txn.delete(keys.lock(ward, keys.PLACE)),
    ):
        path.write_bytes(whole)
        engine = Engine.open(path, "r+")
        txn = engine.begin()
        edit(txn)
        txn.commit()
        engine.close()
        with pytest.raises(Tampered):
            Reader(path, [golden.KEY]).close()
