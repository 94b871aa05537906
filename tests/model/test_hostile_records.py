"""Records of indexes and key stores that somebody made to do harm: errors of kist, nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kist
from kist.errors import KistError
from kist.format import keys, layout
from kist.format.index import IndexState
from kist.format.values import pack_record, unpack_record
from kist.testing.surgery import Image


@pytest.mark.parametrize("next_id", [0, 1, 2, 255, 1 << 31, (1 << 32) - 1])
def test_any_next_number_of_an_index_is_survived(path: Path, next_id: int) -> None:
    rows = np.zeros(300, [("a", "i8"), ("b", "f8")])
    rows["a"] = np.arange(300)
    with kist.open(path, "w") as store:
        store["t"] = rows
        store["t"].create_index("a", unique=True)
    image = Image(path.read_bytes())
    changed = 0
    for key, value in image.entries().items():
        with contextlib.suppress(KistError):
            if keys.kind_of(key) == b"I":
                state = IndexState.unpack(unpack_record(value)[1])
                new = pack_record(state._replace(next_id=next_id).pack())
                image.add([(layout.OP_PUT, key, new)])
                changed += 1
    assert changed == 1
    image.pack_log()
    path.write_bytes(image.data)
    with kist.open(path, "r+") as store:
        table = store["t"]
        with contextlib.suppress(KistError):
            table.create_index("b")
        assert table["a"][:].tolist() == rows["a"].tolist()
        with contextlib.suppress(KistError):
            assert table.where("a == 7").indices().tolist() == [7]


@pytest.mark.parametrize(
    ("made_up", "told"),
    [(b"\x50\xcc\x01", "not UTF-8"), (b"", "begins with"), (b"\x50", "with 50"), (b"\x77", "77")],
)
def test_a_key_of_a_key_store_that_is_none_is_not_merged(
    path: Path, tmp_path: Path, made_up: bytes, told: str
) -> None:
    with kist.open(path, "w") as store:
        store.create_keystore("k")["a"] = 1
        node = store["k"]._id
    image = Image(path.read_bytes())
    old = keys.item(node, b"\x50a")
    new = keys.item(node, made_up)
    image.add([(layout.OP_DELETE, old, b""), (layout.OP_PUT, new, image.entries()[old])])
    image.pack_log()
    path.write_bytes(image.data)
    with pytest.raises(kist.CorruptDataError, match=told):
        kist.merge([path], tmp_path / "out.kist")
    assert not (tmp_path / "out.kist").exists()


def test_a_sealed_key_that_is_no_text_is_damage(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    from kist.model.keystores import sealedstore

    key = bytes(32)
    with kist.open(path, "w") as store:
        runs = store.create_keystore("k", encrypt=key)
        runs["good"] = 1
        with monkeypatch.context() as patched:
            # Two bytes before the key as it is packed: whoever has the secret can seal them.
            head = SimpleNamespace(pack=lambda n: bytes((n + 2, 0)) + b"\x50\xff")
            patched.setattr(sealedstore, "ENTRY_HEAD", head)
            runs["a"] = 1
    with kist.open(path, secrets=key) as store:
        assert any("not UTF-8" in one.message for one in store.check().problems)
        with pytest.raises(kist.CorruptDataError, match="not UTF-8"):
            list(store["k"])
    with pytest.raises(kist.CorruptDataError, match="not UTF-8"):
        kist.merge([path], tmp_path / "out.kist", secrets=key)


def test_an_extent_beyond_the_end_takes_no_memory_to_copy(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "w") as store:
        store["x"] = np.random.default_rng(0).random(20_000)
    image, changed = Image(path.read_bytes()), 0
    for key, value in image.entries().items():
        with contextlib.suppress(KistError):
            if keys.kind_of(key) == b"C":
                pointers, payload = unpack_record(value)
                far = [pointer._replace(length=1 << 40) for pointer in pointers]
                image.add([(layout.OP_PUT, key, pack_record(payload, far))])
                changed += len(far)
    assert changed
    image.pack_log()
    path.write_bytes(image.data)
    with kist.open(path, "r+") as store, kist.open(":memory:") as other:
        with pytest.raises(kist.CorruptDataError, match="ends within a frame"):
            store.copy("x", "y")
        with pytest.raises(kist.CorruptDataError, match="ends within a frame"):
            other.copy(store["x"], "y")
        assert list(store) == ["x"] and not list(other)
