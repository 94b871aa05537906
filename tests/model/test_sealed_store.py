"""Stores that are sealed as a whole: what shows, who opens them, what works in them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.errors import SecretError, StoreExistsError, TamperedDataError, WrongSecretError
from kist.format import layout
from kist.model.repacking import repack
from kist.model.sealedfile import sealed_info

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
WORDS = "four random words here"

ROWS = np.zeros(3000, [("pricecolumn", "f8"), ("namecolumn", "U10"), ("n", "i4")])
ROWS["pricecolumn"] = np.arange(3000) / 7
ROWS["namecolumn"] = "namevalue"
ROWS["n"] = np.arange(3000)

# Whatever of it stands in a file is in clear: names, values, attributes, messages, tags.
TELLTALE = (
    "groupname",
    "tablename",
    "pricecolumn",
    "namecolumn",
    "namevalue",
    "arrayname",
    "runkey",
    "plainvalue",
    "attrname",
    "attrvalue",
    "messagetext",
    "tagname",
    "smallvalue",
    "titletext",
    "linkname",
)


def fill(store: kist.Store) -> None:
    """Put everything that there is into a store, some of it more than once."""
    with store.transaction(message="messagetext one"):
        store.create_table("groupname/tablename", ROWS, title="titletext", codec="small")
        store["groupname"].attrs["attrname"] = "attrvalue"
    table = store["groupname/tablename"]
    store["arrayname"] = np.linspace(0, 1, 40_000).reshape(200, 200) ** 3
    runs = store.require_keystore("runs")
    runs["runkey-1"] = (np.arange(5000.0), "plainvalue")
    runs["runkey-2"] = "plainvalue"
    table.create_index("n")
    for n in range(40):  # pieces in the log, and checkpoints
        table.append((1.0, "smallvalue", n))
    store.tag("tagname")
    table.where("n == 7").update({"namecolumn": "smallvalue"})
    table.where("n > 2990").delete()
    store["arrayname"][3:5] = 9.0
    del runs["runkey-2"]
    store.create_link("linkname", "groupname")


def shown(path: Path) -> list[str]:
    """What of the content stands in a file."""
    data = path.read_bytes()
    coded = [(word, word.encode(code)) for word in TELLTALE for code in ("utf-8", "utf-32-le")]
    return [word for word, found in coded if found in data]


def contents(store: kist.Store) -> tuple[Any, ...]:
    runs, table = store["runs"], store["groupname/tablename"]
    first, second = runs["runkey-1"]
    return (
        table[:].tobytes(),
        table.where("n == 5")["pricecolumn"][:].tolist(),
        table[5].tolist(),
        store["arrayname"][...].tobytes(),
        store["arrayname"][3, 7],
        (first.tobytes(), second, list(runs)),
        dict(store["groupname"].attrs),
        sorted(store.tags),
        [commit.message for commit in store.history() if commit.message],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "t.kist"
    with kist.open(path, "x", encrypt={"lab": KEY}) as store:
        fill(store)
    return path.read_bytes()


@pytest.fixture
def file(made: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "t.kist"
    path.write_bytes(made)
    return path


def test_a_sealed_store_holds_what_a_store_in_clear_holds(file: Path, tmp_path: Path) -> None:
    with kist.open(tmp_path / "clear.kist", "x") as clear, kist.open(file, secrets=KEY) as sealed:
        fill(clear)
        assert contents(sealed) == contents(clear)
        assert sealed.check().ok
        assert len(shown(tmp_path / "clear.kist")) > len(TELLTALE) / 2  # the scan finds something
    with kist.open(file, version="tagname", secrets=KEY) as tagged:
        assert len(tagged["groupname/tablename"]) == 3040


def test_nothing_of_the_content_stands_in_the_file(file: Path, tmp_path: Path) -> None:
    assert shown(file) == []
    with kist.open(file, "r+", secrets=KEY) as store:
        fill_again = store["groupname/tablename"]
        for n in range(60):
            fill_again.append((2.0, "smallvalue", n))
        assert shown(file) == []
        store.compact()
        assert shown(file) == []
        store.backup(tmp_path / "copy.kist")
        store.backup(tmp_path / "small.kist", compact=True)
        store.rotate(now=True)
        before = contents(store)
    for name in ("t.kist", "copy.kist", "small.kist"):
        assert shown(tmp_path / name) == []
        with kist.open(tmp_path / name, "r+", secrets={"/": KEY}) as store:
            assert store.check().ok
            assert contents(store)[:7] == before[:7]
            store["arrayname"][0, 0] = 3.0


def test_without_the_secret_nothing_opens_and_the_error_says_that_all_is_sealed(file: Path) -> None:
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(SecretError, match=r"the whole file is sealed.*secrets=") as caught:
            kist.open(file, mode)
        assert not isinstance(caught.value, WrongSecretError | TamperedDataError)
    for wrong in (OTHER, [OTHER, WORDS], {"/": OTHER}):
        with pytest.raises(WrongSecretError, match="'lab'"):
            kist.open(file, secrets=wrong)
    with pytest.raises(SecretError):
        kist.open(file, secrets={"groupname/tablename/n": KEY})  # for a column, not for the file
    with pytest.raises(SecretError, match="salvage"):
        kist.salvage(file, file.with_name("out.kist"))
    assert not file.with_name("out.kist").exists()


def test_what_is_sealed_shows_in_repr_and_info(file: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        assert "sealed" in repr(store)
        assert store.sealed == ("lab",)
        assert store.info["sealed"] == ["lab"]
        assert KEY.hex() not in repr(vars(store)) + repr(store._session.engine.reader.sealing)
    facts = sealed_info(file)
    assert facts is not None
    assert facts["sealed"] == {"lab": "raw key"}
    assert facts["total_bytes"] == file.stat().st_size
    assert "groupname" not in repr(facts)
    with kist.open(":memory:") as store:
        assert store.sealed == ()
        assert "sealed" not in repr(store).split("\n", maxsplit=1)[0]


def test_checksums_are_checked_without_the_secret(file: Path) -> None:
    report = kist.check(file)
    assert report.ok
    assert "tags were not checked" in report.notes[0]
    assert kist.check(file, secrets=KEY).notes == []
    with pytest.raises(WrongSecretError):
        kist.check(file, secrets=OTHER)
    with kist.open(file, secrets=KEY) as store:
        offset = store._session.engine.state.root.offset  # type: ignore[union-attr]
    for at in (offset + 8, offset + layout.FRAME.size + 3, offset + layout.FRAME.size + 700):
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)
        assert not kist.check(file).ok
        assert not kist.check(file, secrets=KEY).ok
        data[at] ^= 1
        file.write_bytes(data)


def test_a_flipped_bit_of_any_extent_is_found_without_the_secret(file: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        view = store._view()
        from kist.format.values import unpack_record

        places = {
            pointer.offset: pointer.nbytes
            for _, value in view.scan(bytes(8), b"\xff" * 20)
            for pointer in unpack_record(value)[0]
        }
    assert len(places) > 4
    whole = file.read_bytes()
    for offset, nbytes in places.items():
        data = bytearray(whole)
        data[offset + layout.FRAME.size + nbytes // 2] ^= 4
        file.write_bytes(data)
        assert [problem.offset for problem in kist.check(file).problems] == [offset]


def test_secrets_are_added_removed_and_replaced(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        before = contents(store)[:7]
        assert store.add_secret(OTHER) == "1"
        assert store.add_secret(lambda note: KEY if note else (KEY, b"n"), label="kms") == "kms"
        with pytest.raises(SecretError, match="already"):
            store.add_secret(OTHER, label="1")
        with pytest.raises(SecretError, match="one by one"):
            store.add_secret([OTHER, KEY])
        assert store.sealed == ("lab", "1", "kms")
        store.remove_secret("lab")
        with pytest.raises(SecretError, match="no secret 'lab'"):
            store.remove_secret("lab")
        store["new"] = [1, 2, 3]
    with pytest.raises(WrongSecretError):
        kist.open(file, secrets=KEY)
    with kist.open(file, "r+", secrets=OTHER) as store:
        store.rotate({"only": WORDS})
        store["after"] = np.arange(100)
        assert store.check().ok
    with pytest.raises(WrongSecretError):
        kist.open(file, secrets=OTHER)
    with kist.open(file, "r+", secrets=WORDS) as store:
        assert contents(store)[:7] == before
        assert store["after"][5] == 5
        assert store.check().ok
        with pytest.raises(SecretError, match="the only secret"):
            store.remove_secret("only")
        store["more"] = 1
    with kist.open(":memory:") as store, pytest.raises(SecretError, match="not sealed"):
        store.add_secret(KEY)


def test_what_was_written_before_a_rotation_is_sealed_again_when_asked(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        before = contents(store)
        store.untag("tagname")
        sealing = store._session.engine.reader.sealing
        assert sealing is not None
        first = sealing.key_of(store._session.engine.commit)
        store.rotate(now=True)
        engine = store._session.engine
        sealing = engine.reader.sealing
        assert sealing is not None
        births = [engine.state.root.birth]  # type: ignore[union-attr]
        from kist.format.values import Pointer, pointer_bytes

        for packed, node in engine.reader.tree.pages(engine.state.root_bytes()):
            births.append(Pointer.unpack(packed).birth)
            if node.level == 0:
                births += [
                    Pointer.unpack(one).birth for v in node.values for one in pointer_bytes(v)
                ]
        births += [slot.root.birth for slot in engine.slots if slot and slot.root]
        assert len(engine.slots) == 2
        assert all(sealing.key_of(birth)[0] != first[0] for birth in births)
        assert contents(store)[:7] == before[:7]
        assert store.check().ok


def test_another_handle_follows_commits_and_rotations(file: Path) -> None:
    with kist.open(file, secrets=KEY) as reader, kist.open(file, "r+", secrets=KEY) as writer:
        other = kist.open(file, "r+", secrets=KEY)
        table = writer["groupname/tablename"]
        for n in range(120):  # more than one half of the log
            table.append((3.0, "x", n))
        reader.refresh()
        assert reader["groupname/tablename"][-1]["n"] == 119
        writer.rotate()
        table.append((4.0, "x", 500))
        reader.refresh()
        assert reader["groupname/tablename"][-1]["n"] == 500
        other["groupname/tablename"].append((5.0, "x", 501))  # under the new key
        other.close()
        assert table[-1]["n"] == 501
        assert writer.check().ok
    with kist.open(file, secrets=KEY) as store:
        assert store["groupname/tablename"][-1]["n"] == 501
        assert store.check().ok


def test_modes_make_a_sealed_store_or_say_why_not(tmp_path: Path) -> None:
    path = tmp_path / "m.kist"
    for mode in ("r", "r+"):
        with pytest.raises(ValueError, match="encrypt="):
            kist.open(path, mode, encrypt=KEY)
    kist.open(path, "a", encrypt=KEY).close()
    with kist.open(path, "a", encrypt=KEY) as store:  # there now, and opened by it
        store["x"] = 1
    with pytest.raises(WrongSecretError):
        kist.open(path, "a", encrypt=OTHER)
    with kist.open(path, "w", secrets=KEY) as store:
        assert store.sealed
    with kist.open(path, secrets=KEY) as store:
        assert list(store) == []
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        kist.open(path, "w", encrypt=OTHER)
    with kist.open(path, "w", encrypt=OTHER, overwrite=True) as store:
        store["y"] = 2
    with kist.open(path, secrets=OTHER) as store:
        assert list(store) == ["y"]
    clear = tmp_path / "clear.kist"
    with kist.open(clear, "x") as store:
        store["z"] = 3
    with pytest.raises(TamperedDataError, match="not marked as sealed"):
        kist.open(clear, "a", encrypt=KEY)
    with pytest.raises(SecretError, match="32 bytes"):
        kist.open(tmp_path / "n.kist", "x", encrypt=b"short")
    assert not (tmp_path / "n.kist").exists()
    with pytest.raises(SecretError, match="3,520"):
        kist.open(
            tmp_path / "n.kist", "x", encrypt={str(n): lambda _: (KEY, bytes(1024)) for n in "abcd"}
        )


def test_sealed_columns_stand_in_a_sealed_store_as_well(tmp_path: Path) -> None:
    path = tmp_path / "two.kist"
    with kist.open(path, "x", encrypt=KEY) as store:
        store.create_table("t", ROWS, encrypt={"namecolumn": OTHER})
        store["t"].append((1.0, "smallvalue", 3))
    with kist.open(path, secrets=KEY) as store:
        assert store["t"]["n"][-1] == 3
        with pytest.raises(SecretError, match="namecolumn"):
            store["t"]["namecolumn"][:]
    with kist.open(path, "r+", secrets={"/": KEY, "t/namecolumn": OTHER}) as store:
        assert store["t"][:].tobytes()[:-60] == ROWS.tobytes()[: len(ROWS) * 52][: -60 + 52]
        assert store["t"]["namecolumn"][-1] == "smallvalue"
        store["t"].rotate(now=True)
        store.rotate(now=True)
        assert store["t"]["namecolumn"][:3].tolist() == ["namevalue"] * 3
        assert store.check().ok


def test_parts_of_a_sealed_store_are_sealed_stores_and_merged_to_one(
    file: Path, tmp_path: Path
) -> None:
    with kist.open(file, secrets=KEY) as source:
        path, whole = "groupname/tablename", source["groupname/tablename"][:]
        frames, runs = source["arrayname"][...], dict(source["runs"].items())
        kinds = ((path, {"rows": 1000}), ("arrayname", {"parts": 3}), ("runs", {"parts": 1}))
        for name, how in kinds:
            for out in (None, tmp_path / "folder"):
                with pytest.raises(SecretError, match=r"out= with \{\}"):
                    kist.split(source, name, **how, out=out, encrypt=OTHER)
            out = tmp_path / f"{name[0]}-{{}}.part"
            files = kist.split(source, name, **how, out=out, encrypt={"lab": OTHER})
            for one in map(Path, files):
                with pytest.raises(SecretError):
                    kist.open(one)
                with kist.open(one, secrets={"/": OTHER}) as part:
                    assert part.sealed == ("lab",) and part.check().ok
                assert not shown(one)
        with pytest.raises(SecretError, match="values of a column"):
            kist.split(source, path, by="n", out=tmp_path / "by-{}", encrypt=OTHER)
    parts = sorted(tmp_path.glob("*.part"))
    assert len(parts) == 4 + 3 + 1
    out = tmp_path / "whole"
    with pytest.raises(SecretError, match="with encrypt="):
        kist.merge(parts, out, secrets=OTHER)
    kist.merge(parts, out, secrets=OTHER, encrypt=KEY)
    assert not shown(out)
    with kist.open(out, secrets={"/": KEY}) as merged:
        assert np.array_equal(merged[path][:], whole) and merged.check().ok
        assert np.array_equal(merged["arrayname"][...], frames)
        assert merged[path].indexes[0].name == "n"
        for key, value in runs.items():
            assert repr(merged["runs"][key]) == repr(value)
    assert sorted(tmp_path.iterdir()) == sorted([file, out, *parts])


def test_copies_stay_sealed_or_are_refused(file: Path, tmp_path: Path) -> None:
    with kist.open(file, secrets=KEY) as source:
        with kist.open(":memory:") as clear:
            with pytest.raises(SecretError, match="stand in clear"):
                clear.copy(source["groupname"], "g")
            with pytest.raises(SecretError, match="stand in clear"):
                repack(source, clear, "zstd")
            assert len(clear) == 0
        with pytest.raises(SecretError, match="with encrypt="):
            kist.split(source, "groupname/tablename", rows=1000, out=tmp_path / "p-{}.kist")
        with pytest.raises(SecretError, match="with encrypt="):
            kist.merge([source], tmp_path / "m.kist", "groupname/tablename")
        assert sorted(tmp_path.iterdir()) == [file]
        with pytest.raises(SecretError, match="decrypt=True"):
            kist.convert(f"{file}:arrayname", tmp_path / "a.npy", secrets=KEY)
        with pytest.raises(SecretError, match="stand in clear"):
            kist.convert(file, tmp_path / "c.kist", secrets=KEY)
        kist.convert(f"{file}:arrayname", tmp_path / "a.npy", secrets=KEY, decrypt=True)
        assert np.array_equal(np.load(tmp_path / "a.npy"), source["arrayname"][...])
        with kist.open(tmp_path / "o.kist", "x", encrypt=OTHER) as sealed:
            for name in ("groupname", "arrayname", "runs"):
                sealed.copy(source[name], name)
            sealed.tag("tagname")
            assert contents(sealed)[:7] == contents(source)[:7]
            assert sealed.check().ok
        with kist.open(tmp_path / "clear.kist", "x") as clear:
            clear["a"] = ROWS
            with kist.open(tmp_path / "o.kist", "r+", secrets=OTHER) as sealed:
                sealed.copy(clear["a"], "from clear")
                assert sealed["from clear"][:].tobytes() == ROWS.tobytes()
    assert shown(tmp_path / "o.kist") == []
    assert not list(tmp_path.glob("p-*")) + list(tmp_path.glob("m.*")) + list(tmp_path.glob("c.*"))


def test_handles_travel_without_the_secret(file: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        packed = pickle.dumps(store["arrayname"])
        assert KEY not in packed
    with pytest.raises(SecretError, match="the whole file is sealed"):
        pickle.loads(packed)[0, 0]


@pytest.mark.parametrize("durability", ["relaxed", "none"])
def test_every_durability_writes_what_opens_again(tmp_path: Path, durability: Any) -> None:
    path = tmp_path / "d.kist"
    with kist.open(path, "x", encrypt=KEY, durability=durability, retain=2) as store:
        ks = store.create_keystore("ks")
        for n in range(50):
            ks[n] = np.arange(n * 40)
    assert kist.check(path).ok
    with kist.open(path, secrets=KEY) as store:
        assert [len(store["ks"][n]) for n in range(50)] == [n * 40 for n in range(50)]
        assert store.check().ok


def test_a_sealed_store_is_read_over_a_network(file: Path) -> None:
    from kist.testing.range_server import RangeServer

    with kist.open(file, secrets=KEY) as store:
        store.backup(file.with_name("remote.kist"), compact=True)
        expected = contents(store)[:7]
    with RangeServer({"/r.kist": file.with_name("remote.kist").read_bytes()}) as server:
        with pytest.raises(SecretError, match="the whole file is sealed"):
            kist.open(server.url("/r.kist"))
        server.forget()
        with kist.open(server.url("/r.kist"), secrets=KEY) as store:
            assert store.sealed
            assert len(server.requests) <= 3
            assert contents(store)[:7] == expected


def test_the_command_line_takes_the_secret_from_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from kist.cli.main import cli as main

    runner = CliRunner()
    monkeypatch.delenv("KIST_SECRET", raising=False)
    assert runner.invoke(main, ["check", str(file)]).exit_code == 0
    said = runner.invoke(main, ["info", str(file)])
    assert said.exit_code == 0
    assert "raw key" in said.output
    assert "groupname" not in said.output
    refused = runner.invoke(main, ["ls", str(file)])
    assert refused.exit_code != 0
    assert "the whole file is sealed" in refused.output + str(refused.exception)
    monkeypatch.setenv("KIST_SECRET", "hex:" + KEY.hex())
    assert "groupname" in runner.invoke(main, ["ls", str(file)]).output
    assert "n_attributes" in runner.invoke(main, ["info", str(file)]).output


def test_an_unfinished_sealed_store_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "u.kist"
    with kist.open(path, "x", encrypt=KEY):
        pass
    data = bytearray(path.read_bytes()[: layout.DATA_OFFSET])
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[at : at + layout.BLOCK] = bytes(layout.BLOCK)
    data[layout.RING_OFFSET :] = bytes(len(data) - layout.RING_OFFSET)
    path.write_bytes(data)
    with kist.open(path, "a", encrypt=OTHER) as store:
        store["x"] = 1
    assert os.path.getsize(path) >= layout.DATA_OFFSET
    assert kist.check(path, secrets=OTHER).ok


def test_a_link_and_a_union_lead_into_sealed_stores(file: Path, tmp_path: Path) -> None:
    with kist.open(file, secrets=KEY) as store:
        expected = store["groupname/tablename"][:].tobytes()
    second = tmp_path / "second.kist"
    with kist.open(second, "x", encrypt=OTHER) as store:
        store["groupname/tablename"] = ROWS
    with kist.open(tmp_path / "open.kist", "x", secrets=KEY) as store:
        store.create_link("study", "groupname/tablename", file=file.name)
    with (
        kist.open(tmp_path / "open.kist") as store,
        pytest.raises(kist.KistError, match="the whole file is sealed"),
    ):
        store["study"]
    with kist.open(tmp_path / "open.kist", secrets=KEY) as store:
        assert store["study"][:].tobytes() == expected
    names = [str(file), str(second)]
    with kist.union(names, "groupname/tablename", secrets=[KEY, OTHER]) as both:
        assert both[:].tobytes() == expected + ROWS.tobytes()
        assert both.where("n == 5")["n"][:].tolist() == [5, 5, 5]


def test_small_commits_by_a_kept_handle_are_sealed_too(path: Path) -> None:
    """Each may be made without a transaction, by the handle that has made the last one."""
    rows = np.zeros(10, [("n", "i4"), ("name", "S9")])
    rows["name"] = b"namevalue"
    with kist.open(path, "x", encrypt=KEY) as store:
        runs, table = store.create_keystore("runs"), store.create_table("t", rows[:0])
        for n in range(5):
            runs[f"runkey-{n}"] = "smallvalue"
        for _ in range(5):
            table.append(rows)
        data = path.read_bytes()
        assert not [word for word in TELLTALE if word.encode() in data]
    with kist.open(path, secrets=KEY) as store:
        assert len(store["runs"]) == 5 and len(store["t"]) == 50 and store.check().ok
