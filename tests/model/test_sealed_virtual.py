"""Virtual columns over sealed ones: computed where they are read, by who has the secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import DTypeError, SecretError, TamperedDataError
from kist.format import keys
from kist.format.values import pack_record, unpack_record
from kist.model.tables.stored.schema import schema_from

A, B, OTHER = (bytes([n]) * 32 for n in range(3))
N = 1000


def make_rows() -> Any:
    rows = np.zeros(N, [("id", "i4"), ("a", "f8"), ("b", "f8")])
    rows["id"], rows["a"], rows["b"] = np.arange(N), np.arange(N) * 1.5, 7
    return rows


ROWS = make_rows()


@pytest.fixture
def file(path: Path) -> Path:
    with kist.open(path, "x") as store:
        table: Any = store.create_table("t", ROWS, encrypt={"a": A, "b": B})
        table.add_column("v", "a * 2 + id", virtual=True)
        table.add_column("vv", "v + b", virtual=True)
        table.add_column("o", "id + 1", virtual=True)
        table.append((N, 1.0, 2.0))
    return path


def test_they_are_computed_with_the_secrets_and_refused_without(file: Path) -> None:
    v = np.append(ROWS["a"] * 2 + ROWS["id"], N + 2.0)
    with kist.open(file, secrets=[A, B]) as store:
        table = store["t"]
        assert np.array_equal(table["v"][:], v)
        assert np.array_equal(table["vv"][:N], v[:N] + 7)
        assert table.where("vv > 3000")["id"][:].tolist() == np.flatnonzero(v + 7 > 3000).tolist()
        assert table[3].item() == (3, 4.5, 7, 12, 19, 4) and store.check().ok
    with kist.open(file, secrets=A) as store:
        assert store["t"]["v"].sum() == v.sum()
        with pytest.raises(SecretError, match="'b'"):
            store["t"]["vv"][:]
    with kist.open(file) as store:
        table = store["t"]
        assert table["o"][:3].tolist() == [1, 2, 3]
        for read in (
            lambda: table["v"][:],
            lambda: table["vv"].sum(),
            lambda: table.where("v > 3")["id"][:],
            lambda: table[["id", "v"]][:2],
            lambda: table[["v"]].to_pandas(),
            lambda: table["v"].read(errors="mask"),
        ):
            with pytest.raises(SecretError, match="'id', 'o' can be read without one"):
                read()
        assert "SecretError" in repr(table["v"]) and "0.0" not in repr(table["v"])


def test_what_they_tell_does_not_come_to_stand_in_clear(file: Path, tmp_path: Path) -> None:
    with kist.open(file, "r+", secrets=[A, B]) as store:
        table = store["t"]
        before, size = store.commit_id, list(table.columns)
        for step in (
            lambda: table.add_column("st", kist.expr("vv + 1")),
            lambda: table.add_column("st", kist.expr("a")),
            lambda: table.add_column("st", table["a"]),
            lambda: table.add_column("st", table["v"]),
            lambda: table.where("id > 3").update({"id": kist.expr("v")}),
            lambda: table.where("id > 3").update({"id": table["a"]}),
            lambda: store.create_table("u", table[["id", "v"]]),
            lambda: store.create_array("u", table["a"]),
            lambda: store.create_array("u", table["vv"]),
            lambda: kist.split(store, "t", by="vv", out=tmp_path / "parts"),
            lambda: table.create_index("v"),
        ):
            with pytest.raises((SecretError, DTypeError)):
                step()
        assert store.commit_id == before and list(table.columns) == size and "u" not in store
        assert not (tmp_path / "parts").exists()
        store.create_array("sealed", table["a"], encrypt=OTHER)
        store.create_array("meant", table["a"][:3])
        store.create_table("s", table[["id", "v"]], encrypt={"v": OTHER})
        table.where("id > 3").update({"b": kist.expr("a")})
        assert store["s"]["v"][1] == 4 and table["b"][4] == 6


def test_they_follow_renaming_splitting_merging_unions_and_salvage(
    file: Path, tmp_path: Path
) -> None:
    with kist.open(file, "r+", secrets=[A, B]) as store:
        store["t"].rename_column("a", "weight")
        v = store["t"]["vv"][:]
        with pytest.raises(DTypeError, match="computed from it"):
            store["t"].drop_column("v")
    kist.split(file, "t", parts=3, out=tmp_path / "parts", secrets=[A, B])
    parts = sorted((tmp_path / "parts").iterdir())
    kist.merge(parts, tmp_path / "merged.kist", secrets=[A, B])
    with kist.open(tmp_path / "merged.kist", secrets=[A, B]) as store:
        assert np.array_equal(store["t"]["vv"][:], v) and store.check().ok
    with kist.union(parts, "t", secrets=[A, B]) as union:
        assert np.array_equal(union["vv"][:], v)
    with kist.union(parts, "t") as union, pytest.raises(SecretError):
        union["v"][:]
    linked = tmp_path / "linked.kist"
    with kist.open(linked, "x", secrets=[A, B]) as store:
        store.create_union("t", "t", files=parts)
        assert store["t"].where("v > 2990")["v"][:].tolist() == [
            2992, 2996, 3000, 3004, *range(3008, 3997, 4),
        ]  # fmt: skip
    for secrets, columns in (
        ([A, B], ("id", "weight", "b", "v", "vv", "o")),
        (A, ("id", "weight", "v", "o")),
        (None, ("id", "o")),
    ):
        out = tmp_path / f"saved {len(columns)}.kist"
        report = kist.salvage(file, out, secrets=secrets)
        with kist.open(out, secrets=secrets) as store:
            assert store["t"].columns == columns and store.check().ok
        assert {loss.column for loss in report.losses} == {
            "id", "weight", "b", "v", "vv", "o",
        } - set(columns)  # fmt: skip


def test_errors_name_columns_and_given_names_and_are_grammatical(path: Path) -> None:
    with kist.open(path, "x") as store:
        store.create_table("t", ROWS, encrypt={("a", "b"): A})
    said = r"columns 'a', 'b' are sealed, and no secret was given for them"
    with kist.open(path) as store, pytest.raises(SecretError, match=said):
        store["t"]["a"][:]
    said = r"By name they were given for 'other/a'"
    with kist.open(path, secrets={"other/a": A}) as store, pytest.raises(SecretError, match=said):
        store["t"]["a"][:]
    with kist.open(path, "r+", secrets=A) as store:
        table: Any = store["t"]
        for step in (
            lambda: table.drop_column(["id", "a"]),
            lambda: table.rename_column(["id"], "x"),
            lambda: table.cast_column(3, "f8"),
        ):
            with pytest.raises(DTypeError, match="name one column as a str"):
                step()


def test_a_secret_by_name_says_that_one_is_computed_from_sealed_columns(file: Path) -> None:
    named = {"t/v": A, "t/vv": [A, B]}
    with kist.open(file, "r+", secrets=named) as store:
        assert store["t"]["vv"][0] == 7
        table: Any = store["t"]
        table.append((1, 1.0, 2.0))
    with kist.open(file, secrets={"t/o": A}) as store, pytest.raises(TamperedDataError):
        store["t"]["o"][:]
    with kist.open(file, "r+") as store:  # edited by somebody who has no secret
        node: Any = store["t"]
        with node._write() as txn:
            key = keys.schema(node._id)
            packed = unpack_record(txn.get(key))[1]
            packed = packed.replace(b"a * 2 + id", b"id* 2 + id")
            assert schema_from(b"\0" + packed).columns[3].expression
            txn.put(key, pack_record(packed))
    with kist.open(file, secrets=named) as store, pytest.raises(TamperedDataError):
        store["t"]["v"][:]
    with kist.open(file, secrets=[A, B]) as store, pytest.raises(TamperedDataError):
        store["t"]["vv"][:]
