"""What a store says about itself, and whether its records fit together."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.format import keys
from kist.format.node import Child, NodeKind, NodeRecord
from kist.model.info import Info
from kist.model.text import format_bytes

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


def test_info_accounts_for_every_byte_of_the_file(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["a/t"] = np.zeros(100_000, "i4,f8")
        store.attrs["n"] = 1
        store.tag("v")
        info = store.info
        assert info.total_bytes == os.path.getsize(path)
        assert info.total_bytes == info.live_bytes + info.free_bytes + info.waiting_bytes
        assert info.nodes == {"group": 1, "table": 1}
        assert info.commit == store.commit_id
        assert info.tags == dict(store.tags)
        assert info.n_attributes == 1
        json.dumps(info.to_dict())
        for name in info:
            assert f"    {name} " in repr(info)


def test_info_shows_who_holds_an_old_commit(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.attrs["n"] = 0
        with kist.open(path) as reader:
            for n in range(20):
                store.attrs["n"] = n
            pins = store.info.pins
            assert any(pin["pid"] == os.getpid() and pin["commit"] for pin in pins)
            assert reader.info.newer_commits == 20
            assert "newer_commits" in repr(reader.info)


def test_info_of_a_group_counts_its_children(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["g/a"], store["g/b"] = ROWS, ROWS
        info = store["g"].info
        assert (info["name"], info["kind"], info["n_children"]) == ("/g", "group", 2)
        assert info.created.tzinfo is not None
        assert repr(info).startswith("Group '/g'")


def test_facts_are_keys_and_attributes() -> None:
    info = Info("Thing", {"n_rows": 1234, "size_bytes": 2048, "pid": 4321, "tags": [], "ok": True})
    assert info.n_rows == info["n_rows"] == 1234
    assert "n_rows" in dir(info)
    assert list(info) == list(info.to_dict())
    with pytest.raises(AttributeError):
        _ = info.other
    text = repr(info)
    assert "1,234" in text and "4321" in text and "2,048 (2.0 KiB)" in text


def test_sizes_are_told_in_units() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]


def test_compact_gives_space_back_and_keeps_everything(path: Path) -> None:
    rng = np.random.default_rng(1)
    with kist.open(path, "w") as store:
        noise = np.rec.fromarrays([rng.random(200_000)], names="x")
        store["gone"], store["kept"] = noise, noise
        store.attrs["n"] = 1
        del store["gone"]
        before = os.path.getsize(path)
        given_back = store.compact()
        assert given_back > 1_000_000
        assert os.path.getsize(path) == before - given_back
        np.testing.assert_array_equal(store["kept"][:], noise)
        assert store.check().ok
    with kist.open(path) as store:
        assert store.attrs["n"] == 1
        np.testing.assert_array_equal(store["kept"][:], noise)


def break_records(store: kist.Store, *changes: tuple[bytes, bytes | None]) -> kist.Store:
    """Put records behind the back of the model."""
    with store._write() as txn:
        for key, value in changes:
            if value is None:
                txn.delete(key)
            else:
                txn.put(key, value)
    return store


@pytest.mark.parametrize(
    ("make", "words", "node"),
    [
        (lambda t: [(keys.node(t._id), None)], "without a record", "/g/t"),
        (
            lambda t: [(keys.child(t.parent._id, "t"), None)],
            "no group lists",
            None,
        ),
        (
            lambda t: [
                (keys.child(t.parent._id, "u"), Child("u", NodeKind.TABLE, t._id).pack("u"))
            ],
            "listed twice",
            "/g/u",
        ),
        (
            lambda t: [(keys.node(t._id), NodeRecord(1, t.parent._id, "t", t._created_ns).pack())],
            "its record says group",
            "/g/t",
        ),
        (
            lambda t: [(keys.node(t._id), NodeRecord(2, t.parent._id, "z", t._created_ns).pack())],
            "called 'z'",
            "/g/t",
        ),
    ],
)
def test_check_holds_the_records_of_a_node_against_each_other(
    path: Path, make: Any, words: str, node: str | None
) -> None:
    with kist.open(path, "w") as store:
        store["g/t"] = ROWS
        assert store.check()
        break_records(store, *make(store["g/t"]))
        report = store.check()
        assert not report and not report.ok
        found = [p for p in report.problems if words in p.message]
        assert found, report
        if node is not None:
            assert found[0].node == node
        assert words in repr(report)
        json.dumps(report.to_dict())


def test_a_node_of_a_newer_kist_is_named_and_hides_no_other(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["new"], store["old"], store["needs"] = ROWS, ROWS, ROWS
        new, needs = store["new"], store["needs"]
        break_records(
            store,
            (keys.node(new._id), NodeRecord(77, 1, "new", new._created_ns).pack()),
            (keys.child(1, "new"), Child("new", 77, new._id).pack("new")),
            (
                keys.node(needs._id),
                NodeRecord(2, 1, "needs", needs._created_ns, features_read=8).pack(),
            ),
        )
        assert list(store) == ["needs", "new", "old"]
        with pytest.raises(kist.UnsupportedVersionError, match="unknown kind 77"):
            _ = store["new"]
        with pytest.raises(kist.UnsupportedVersionError, match="features 0x8"):
            _ = store["needs"]
        assert "cannot be read" in str(store.tree())
        assert len(store["old"]) == 2
        store.move("new", "moved")
        store.copy("old", "copy")
        del store["moved"]


def test_a_node_with_a_write_feature_of_a_newer_kist_is_read_only(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["t"] = ROWS
        table = store["t"]
        mine = NodeRecord(2, 1, "t", table._created_ns, features_write=4)
        break_records(store, (keys.node(table._id), mine.pack()))
        with store.transaction():
            assert len(table[:]) == 2
            for change in (lambda: table.append(ROWS), lambda: table.attrs.update(n=1)):
                with pytest.raises(kist.ReadOnlyError, match="features 0x4"):
                    change()
        store.attrs["n"] = 1
        del store["t"]


def test_damage_in_one_table_leaves_the_others_readable(path: Path) -> None:
    rng = np.random.default_rng(1)
    marks = np.rec.fromarrays([rng.integers(0, 2**60, 70_000)], names="x")
    with kist.open(path, "w") as store:
        store["deep/bad"] = marks
        size = store.info.total_bytes
        store["good"] = ROWS
    data = bytearray(path.read_bytes())
    data[size * 2 // 3] ^= 0x10
    path.write_bytes(data)
    with kist.open(path) as store:
        np.testing.assert_array_equal(store["good"][:], ROWS)
        with pytest.raises(kist.CorruptDataError):
            store["deep/bad"][:]
        report = store.check()
        assert [p.node is not None and p.node.startswith("/deep/bad") for p in report.problems] == [
            True
        ]
