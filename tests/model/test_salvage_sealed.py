"""What is sealed is saved with its secrets and sealed again; without them it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import kist
from kist.cli.main import cli
from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.format import keys, layout
from kist.format.values import Pointer, pack_record, unpack_record

NAME, WEIGHT, DATASET, GROUP, STORE, OTHER = (bytes([n]) * 32 for n in range(1, 7))
ALL = [NAME, WEIGHT, DATASET, GROUP]
N = 70_000
WORDS = b"confidential"
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(200, 300))


def make_rows() -> Any:
    rows = np.zeros(N, [("id", "i4"), ("name", "S12"), ("weight", "f8")])
    rows["id"], rows["name"], rows["weight"] = np.arange(N), WORDS, RNG.normal(size=N)
    rows["name"][::7] = b"somebody"
    return rows


ROWS = make_rows()


@pytest.fixture
def file(path: Path) -> Path:
    """A file with something sealed of each kind."""
    with kist.open(path, "x") as store:
        seals = {"name": {"a": NAME, "doctor": OTHER}, "weight": WEIGHT}
        table = store.create_table("people", ROWS, encrypt=seals)
        table.create_index("name")
        table.append(ROWS[:2000])  # a piece in an extent of its own
        table.append(ROWS[:3])
        table.where("id == 5").update({"name": b"changed"})
        table.delete([10, 11])
        store.create_array("scans", NOISE, chunks=(50, 300), fill_value=7.5, encrypt=DATASET)
        runs = store.create_keystore("runs", encrypt=DATASET)
        runs.update({"Ann Smith": NOISE[0], "Bob Brown": {"dose": 2}, "Eve": NOISE.copy()})
        ward = store.create_group("ward", encrypt=GROUP, attrs={"head": "Dr. No"})
        ward["t"] = ROWS[:1000]
        ward["below/x"] = NOISE
        ward["below"].attrs["diagnosis"] = "confidential"
        store["open"] = np.arange(5)
    return path


def state(path: Path, secrets: Any) -> dict[str, Any]:
    """All that a file holds, as its secrets show it."""
    with kist.open(path, secrets=secrets) as store:
        assert store.check().ok, store.check()
        ward = store["ward"]
        return {
            "people": store["people"][:].tobytes(),
            "sealed": store["people"].sealed,
            "index": store["people"].where("name == 'changed'")["id"][:].tolist(),
            "scans": store["scans"][:].tobytes(),
            "runs": {key: np.asarray(value).tolist() for key, value in store["runs"].items()},
            "attrs": (dict(ward.attrs), dict(store["ward/below"].attrs), ward.sealed),
            "t": store["ward/t"][:].tobytes(),
            "x": store["ward/below/x"][:].tobytes(),
            "open": store["open"][:].tolist(),
        }


def pointers(path: Path, name: str, kind: bytes, secrets: Any = ALL) -> list[Pointer]:
    """Extents of the records of one kind of a node."""
    with kist.open(path, secrets=secrets) as store:
        node: Any = store[name]
        found = node._view().scan(*keys.whole_node(node._id))
        return [p for k, v in found if keys.kind_of(k) == kind for p in unpack_record(v)[0]]


def harm(path: Path, offset: int, n: int = 8) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        data = file.read(n)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in data))


def harm_body(path: Path, pointer: Pointer) -> None:
    harm(path, pointer.offset + layout.FRAME.size + pointer.nbytes - 20)


def clear_of(path: Path, *words: bytes) -> bool:
    data = path.read_bytes()
    return not any(word in data for word in (*words, WORDS, b"Ann Smith", b"diagnosis", b"Dr. No"))


def test_all_that_is_sealed_is_saved_and_opens_with_the_same_secrets(
    file: Path, tmp_path: Path
) -> None:
    before, out = state(file, ALL), tmp_path / "out.kist"
    report = kist.salvage(file, out, secrets=ALL)
    assert report.ok and report.n_nodes == 8
    assert state(out, ALL) == before
    assert clear_of(out)
    with kist.open(out, "r+", secrets=[OTHER, WEIGHT, DATASET, GROUP]) as store:
        store["people"].append(ROWS[:2])
        store["scans"][0] = 1
        store["runs"]["new"] = 1
        store["ward/t"].append(ROWS[:1])
        store["ward"].attrs["more"] = 1
        assert store.check().ok
    with kist.open(out) as store:
        for name in ("people", "scans", "ward/t"):
            with pytest.raises(SecretError):
                store[name][:]
        with pytest.raises(SecretError):
            store["runs"]["Ann Smith"]
    names = {"people/name": NAME, "people/weight": WEIGHT, "scans": DATASET, "ward": GROUP}
    assert kist.salvage(file, tmp_path / "named.kist", secrets={**names, "runs": DATASET}).ok
    assert state(tmp_path / "named.kist", {**names, "runs": DATASET}) == before


def test_what_no_secret_opens_is_named_and_the_rest_is_saved(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.kist"
    report = kist.salvage(file, out)
    assert {loss.node for loss in report.losses} >= {
        "/people", "/scans", "/runs", "/ward", "/ward/t", "/ward/below/x",
    }  # fmt: skip
    assert all("secrets= or --secret-file" in loss.message for loss in report.losses)
    with kist.open(out) as store:
        assert store["people"].columns == ("id",) and len(store["people"]) == N + 2001
        assert store["open"][:].tolist() == [0, 1, 2, 3, 4] and store.check().ok
    assert clear_of(out)
    wrong = kist.salvage(file, tmp_path / "wrong.kist", secrets=STORE)
    assert len(wrong.losses) == len(report.losses)
    assert "'doctor'" in str(wrong) and clear_of(tmp_path / "wrong.kist")


def test_of_a_table_the_columns_are_saved_whose_secrets_are_given(
    file: Path, tmp_path: Path
) -> None:
    for number, (secret, name) in enumerate([(NAME, "name"), (WEIGHT, "weight")]):
        out = tmp_path / f"{number}.kist"
        report = kist.salvage(file, out, secrets=secret)
        assert {loss.column for loss in report.losses if loss.node == "/people"} == {
            {"name": "weight", "weight": "name"}[name]
        }
        with kist.open(file, secrets=ALL) as one, kist.open(out, "r+", secrets=secret) as other:
            table = other["people"]
            assert table.columns == ("id", name) and set(table.sealed) == {name}
            assert table[name][:].tobytes() == one["people"][name][:].tobytes()
            assert table["id"][:].tobytes() == one["people"]["id"][:].tobytes()
            assert bool(table.indexes) == (name == "name")
            table.append(ROWS[:3][["id", name]])
            other.compact()
            assert other.check().ok
        assert clear_of(out)


def test_damage_in_sealed_extents_is_zeros_or_missing(file: Path, tmp_path: Path) -> None:
    page = [p for p in pointers(file, "people", b"P") if p.length > 100_000][-1]  # of the weights
    harm_body(file, page)
    harm_body(file, pointers(file, "scans", b"C")[1])
    harm_body(file, max(pointers(file, "runs", b"K"), key=lambda p: p.length))
    harm_body(file, pointers(file, "ward/below/x", b"C")[0])
    out = tmp_path / "out.kist"
    report = kist.salvage(file, out, secrets=ALL)
    lost = {loss.node: loss for loss in report.losses}
    assert set(lost) == {"/people", "/scans", "/runs", "/ward/below/x"}
    assert lost["/people"].column == "weight" and "Eve" not in str(report)
    assert lost["/scans"].region == ((50, 100), (0, 300))
    with kist.open(file, secrets=ALL) as one, kist.open(out, "r+", secrets=ALL) as store:
        table = store["people"]
        assert lost["/people"].rows == (0, 65_534)
        weights = table["weight"][:]
        assert not weights[:65_534].any()
        there = one["people"]["weight"][65_534:]
        assert weights[65_534:].tobytes() == there.tobytes()
        assert table["name"][:].tobytes() == one["people"]["name"][:].tobytes()
        scans = store["scans"][:]
        assert (scans[50:100] == 7.5).all() and np.array_equal(scans[100:], NOISE[100:])
        assert list(store["runs"]) == ["Ann Smith", "Bob Brown"]
        assert store["runs"]["Bob Brown"] == {"dose": 2}
        store["runs"]["Eve"] = 1
        inner = store["ward/below/x"]
        assert "fill value" in inner.attrs["SALVAGE"][0] and inner[:].size == NOISE.size
        table.append(ROWS[:2])
        assert store.check().ok
    assert clear_of(out, b"SALVAGE of ward")
    assert out.read_bytes().count(b"SALVAGE") == 3  # in the group it is sealed


def test_a_lost_piece_of_sealed_rows_is_zeros(file: Path, tmp_path: Path) -> None:
    (piece,) = [p for p in pointers(file, "people", b"G") if p.length > 10_000]
    harm_body(file, piece)
    out = tmp_path / "out.kist"
    (loss,) = kist.salvage(file, out, secrets=ALL).losses
    assert loss.rows == (N - 2, N + 1998) and loss.column is None
    with kist.open(out, "r+", secrets=ALL) as store:
        rows = store["people"][:]
        assert not rows[N - 2 : N + 1998]["name"].any()
        assert rows[N + 1998 :].tobytes() == ROWS[:3].tobytes()
        assert store.check().ok


def test_nothing_sealed_is_put_aside_in_clear(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "x") as store:
        table = store.create_table("t", ROWS, encrypt={"name": NAME})
        table.delete(np.flatnonzero(RNG.random(N) < 0.3))
    (dead, *_) = pointers(path, "t", b"X")
    harm_body(path, dead)
    for number, secrets in enumerate((None, NAME)):
        out = tmp_path / f"{number}.kist"
        report = kist.salvage(path, out, secrets=secrets)
        assert report.lost_and_found and clear_of(out)
        with kist.open(out, secrets=secrets) as store:
            assert store.check().ok
            aside = store[report.lost_and_found[0]]
            assert all("name" not in name for name in aside) and len(aside) == 2


def test_records_that_nothing_vouches_for_are_not_saved(file: Path, tmp_path: Path) -> None:
    with kist.open(file, "r+", secrets=ALL) as store:
        for name, kind in (("people", keys.manifest), ("scans", keys.manifest)):
            node: Any = store[name]
            with node._write() as txn:
                key = kind(node._id, 1)
                payload = bytearray(unpack_record(txn.get(key))[1])
                payload[-1] ^= 1
                txn.put(key, pack_record(bytes(payload)))
    out = tmp_path / "out.kist"
    report = kist.salvage(file, out, secrets=ALL)
    lost = {(loss.node, loss.column) for loss in report.losses}
    assert lost == {("/people", "name"), ("/scans", None)}
    assert "nothing vouches" in str(report)
    with kist.open(out, secrets=ALL) as store:
        assert store["people"].columns == ("id", "weight") and "scans" not in store
        assert np.array_equal(store["people"]["weight"][:10], ROWS["weight"][:10])
        assert store.check().ok
    assert clear_of(out)


def test_what_somebody_took_records_from_is_not_saved(file: Path, tmp_path: Path) -> None:
    kinds = {"people": b"P", "scans": b"C", "runs": b"K", "ward/below": b"A"}
    with kist.open(file, "r+") as store:  # without the secrets
        for name, kind in kinds.items():
            node: Any = store[name]
            with node._write() as txn:
                found = list(txn.scan(*keys.whole_node(node._id)))
                txn.delete(max(key for key, _ in found if keys.kind_of(key) == kind))
    out = tmp_path / "out.kist"
    report = kist.salvage(file, out, secrets=ALL)
    lost = {(loss.node, loss.column) for loss in report.losses}
    assert lost == {
        ("/people", "weight"), ("/scans", None), ("/runs", None), ("/ward/below", None),
        ("/lost+found/x", None),  # its group is not there
    }  # fmt: skip
    with kist.open(out, secrets=ALL) as store:
        assert store["people"].columns == ("id", "name") and store.check().ok
        assert list(store) == ["lost+found", "open", "people", "ward"]
        assert store["ward/t"][:].tobytes() == ROWS[:1000].tobytes()
    assert clear_of(out)


def test_secrets_by_name_hold_for_what_is_saved(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "x") as store:
        store["t"], store["x"] = ROWS[:5], np.arange(3)
        store.create_keystore("k")["a"] = 1
        store["g/x"] = 1
    for secrets in ({"t/name": NAME}, {"x": NAME}, {"k": NAME}, {"g": NAME}):
        out = tmp_path / f"{next(iter(secrets)).replace('/', '')}.kist"
        report = kist.salvage(path, out, secrets=secrets)
        assert "by name" in str(report.losses[0])
        with kist.open(out) as store:
            assert next(iter(secrets)).split("/")[0] not in store
    with pytest.raises(TamperedDataError):
        kist.salvage(path, tmp_path / "none.kist", secrets={"/": STORE})
    assert not list(tmp_path.glob("none*"))


# Whole stores


@pytest.fixture
def sealed_store(path: Path) -> Path:
    with kist.open(path, "x", encrypt={"lab": STORE, "more": OTHER}) as store:
        store["g/t"] = ROWS
        store["g"].attrs["diagnosis"] = "confidential"
        store.create_table("s", ROWS[:100], encrypt={"name": NAME})
        store["x"] = NOISE
    return path


def test_a_sealed_store_is_saved_as_one(sealed_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.kist"
    for secrets, error in ((None, SecretError), (NAME, WrongSecretError)):
        with pytest.raises(error, match="the whole file is sealed"):
            kist.salvage(sealed_store, out, secrets=secrets)
        assert not list(tmp_path.glob("out*"))
    (page, *_) = pointers(sealed_store, "x", b"C", STORE)
    harm_body(sealed_store, page)
    report = kist.salvage(sealed_store, out, secrets={"/": STORE, "s/name": NAME})
    assert [loss.node for loss in report.losses] == ["/x"]
    for secret in (STORE, OTHER):
        with kist.open(out, "r+", secrets=[secret, NAME]) as store:
            assert store.sealed == ("lab", "more") and store.check().ok
            assert store["g/t"][:].tobytes() == ROWS.tobytes()
            assert store["s"][:].tobytes() == ROWS[:100].tobytes()
            assert store["g"].attrs["diagnosis"] == "confidential"
            store["s"].append(ROWS[0:1])
            store["s"].delete([100])
    with pytest.raises(SecretError):
        kist.open(out)
    assert clear_of(out, b"SALVAGE")


def test_a_former_holder_does_not_open_what_is_saved_of_a_rotated_store(
    sealed_store: Path, tmp_path: Path
) -> None:
    with kist.open(sealed_store, "r+", secrets=STORE) as store:
        former = dict(store._session.engine.reader.sealing.keys.data)
        store.rotate({"new": GROUP})
    out = tmp_path / "out.kist"
    assert kist.salvage(sealed_store, out, secrets=[GROUP, NAME]).ok
    with kist.open(out, secrets=GROUP) as store:
        kept = store._session.engine.reader.sealing.keys.data
        assert not former.keys() & kept.keys() and len(kept) == 1
    with pytest.raises(WrongSecretError):
        kist.open(out, secrets=STORE)


def test_of_a_sealed_store_without_its_root_the_commit_before_is_saved(
    sealed_store: Path, tmp_path: Path
) -> None:
    with kist.open(sealed_store, "r+", secrets=STORE) as store:
        store._session.engine.checkpoint()
        store["late"] = 1
        store._session.engine.checkpoint()
        root = store._session.engine.state.root
    assert root is not None
    harm_body(sealed_store, root)
    report = kist.salvage(sealed_store, tmp_path / "out.kist", secrets=[STORE, NAME])
    assert "is lost" in report.notes[0]
    with kist.open(tmp_path / "out.kist", secrets=STORE) as store:
        assert store["g/t"][:].tobytes() == ROWS.tobytes() and "late" not in store
    harm(sealed_store, layout.SLOT_OFFSETS[0])
    harm(sealed_store, layout.SLOT_OFFSETS[1])
    with pytest.raises(kist.CorruptDataError):
        kist.salvage(sealed_store, tmp_path / "no.kist", secrets=STORE)
    assert not list(tmp_path.glob("no*"))


# The command line


def test_the_command_takes_secrets_as_others_do(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = tmp_path / "secrets.txt"
    secrets.write_text("".join(f"hex:{key.hex()}\n" for key in ALL))
    runner = CliRunner()
    out = [str(tmp_path / f"{number}.kist") for number in range(3)]
    arguments = ["--secret-file", str(secrets), "salvage", str(file), out[0]]
    assert runner.invoke(cli, arguments).exit_code == 0
    assert state(Path(out[0]), ALL) == state(file, ALL)
    found = runner.invoke(cli, ["salvage", str(file), out[1]])
    assert found.exit_code == 1 and "'/scans': the array is sealed" in found.output
    monkeypatch.setenv("KIST_SECRET", f"hex:{DATASET.hex()}")
    found = runner.invoke(cli, ["salvage", str(file), out[2]])
    assert found.exit_code == 1 and "'/scans'" not in found.output and "'/ward'" in found.output
