"""Tables with sealed columns: what is read and changed with their secrets, and refused without."""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

import kist
from kist.errors import (
    ColumnNotFoundError,
    DTypeError,
    SecretError,
    TamperedDataError,
    WrongSecretError,
)

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
WORDS = "four words that nobody may see"
DTYPE = np.dtype([("id", "i8"), ("name", "S6"), ("price", "f8")])


def rows_of(n: int, start: int = 0) -> np.ndarray:
    rows = np.empty(n, DTYPE)
    rows["id"] = np.arange(start, start + n)
    rows["name"] = np.char.add(b"n", (np.arange(start, start + n) % 977).astype("S5"))
    rows["price"] = np.arange(start, start + n) % 10_007 / 4
    return rows


@pytest.fixture
def sealed(path: Path) -> Path:
    """A file with pages, pieces, patches and deleted rows of a table with two sealed fields."""
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(70_000), encrypt={"name": KEY, "price": OTHER})
        t.append(rows_of(40, 70_000))
        t[5:8] = rows_of(3, 500)
        t["id"][100] = -1
        t.delete(range(10, 20))
        store.create_table("open", rows_of(10))
    return path


def expected() -> np.ndarray:
    rows = rows_of(70_040)
    rows[5:8] = rows_of(3, 500)
    rows["id"][100] = -1
    return np.delete(rows, range(10, 20))


def test_with_all_secrets_everything_reads_as_it_was_written(sealed: Path) -> None:
    with kist.open(sealed, secrets=[OTHER, KEY]) as store:
        t = store["t"]
        np.testing.assert_array_equal(t[:], expected())
        np.testing.assert_array_equal(t["name"][60_000:], expected()["name"][60_000:])
        assert t[69_999] == expected()[69_999]
        assert t.where("name == 'n7'").count() == np.count_nonzero(expected()["name"] == b"n7")
        np.testing.assert_array_equal(t[[3, 5, 69_000]], expected()[[3, 5, 69_000]])
        assert store.check().ok
        assert not store.check().notes


def test_columns_that_are_open_read_and_filter_without_a_secret(sealed: Path) -> None:
    with kist.open(sealed) as store:
        t = store["t"]
        np.testing.assert_array_equal(t["id"][:], expected()["id"])
        assert t.where("id > 69_990")["id"][:].tolist() == list(range(69_991, 70_040))
        assert len(t) == 70_030
        assert t.columns == DTYPE.names
        assert t.sealed == {"name": ("1",), "price": ("1",)}
        assert "SecretError" in repr(t)
        assert t.info["columns"]["name"]["encoding"] == "sealed"
        assert "SecretError" in t._repr_html_()
        report = store.check()
        assert report.ok
        assert len(report.notes) == 2 and "tags were not checked" in repr(report)


READS: dict[str, Callable[[Any], Any]] = {
    "column": lambda t: t["name"][:],
    "value": lambda t: t["name"][69_000],
    "in a piece": lambda t: t["name"][-1],
    "row": lambda t: t[3],
    "all": lambda t: t[:],
    "filter": lambda t: t.where("name == 'n1'")["id"][:],
    "sort": lambda t: t.sort_by("price")["id"][:3],
    "group": lambda t: t.group_by("name").agg({"id": "sum"})[:],
    "sum": lambda t: t["price"].sum(),
    "least": lambda t: t["price"].min(),
    "frame": lambda t: t.to_pandas(),
    "arrow": lambda t: t.to_arrow(),
    "iteration": lambda t: [dict(row) for row in t.where("id < 3")],
    "blocks": lambda t: list(t.blocks()),
    "export": lambda t: t.where("id < 3")[["name"]][:],
    "masked": lambda t: t.read(errors="mask"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_what_is_sealed_needs_its_secret(sealed: Path, read: Callable[[Any], Any]) -> None:
    with (
        kist.open(sealed) as store,
        pytest.raises(SecretError, match=r"/t' column '(name|price)' is sealed.*'id' can be read"),
    ):
        read(store["t"])


WRITES: dict[str, Callable[[Any], Any]] = {
    "append": lambda t: t.append(rows_of(1)),
    "many": lambda t: t.append(rows_of(10_000)),
    "assign": lambda t: t["id"].__setitem__(3, 4),
    "update": lambda t: t.where("id == 5").update({"id": 4}),
    "delete": lambda t: t.delete(0),
    "truncate": lambda t: t.truncate(0),
    "upsert": lambda t: t.upsert(rows_of(1), on="id"),
    "rename": lambda t: t.rename_column("id", "number"),
    "add": lambda t: t.add_column("flag", False),
    "drop": lambda t: t.drop_column("id"),
    "cast": lambda t: t.cast_column("id", "f8"),
    "reorder": lambda t: t.reorder(["name", "id", "price"]),
    "secret": lambda t: t.add_secret("name", os.urandom(32)),
    "rotate": lambda t: t.rotate(),
    "copy": lambda t: t.store.copy("t", "u"),
}


@pytest.mark.parametrize("given", [None, KEY], ids=["no secret", "one of two"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_without_all_secrets_nothing_is_changed(
    sealed: Path, write: Callable[[Any], Any], given: Any
) -> None:
    with kist.open(sealed, "r+", secrets=given) as store:
        before = store.commit_id
        if given is not None and write is WRITES["secret"]:
            write(store["t"])  # its own field is open
            return
        with pytest.raises(SecretError, match=r"'t|/t'"):
            write(store["t"])
        assert store.commit_id == before
        store["open"].append(rows_of(1))  # the rest of the store is not concerned
    with kist.open(sealed, secrets=[KEY, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:], expected())


def test_a_table_moves_and_goes_without_a_secret(sealed: Path) -> None:
    with kist.open(sealed, "r+") as store:
        store.move("t", "group/moved")
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        np.testing.assert_array_equal(store["group/moved"][:], expected())
    with kist.open(sealed, "r+") as store:
        del store["group/moved"]
        assert store.check().ok


def test_compaction_and_backups_need_no_secret(sealed: Path, tmp_path: Path) -> None:
    with kist.open(sealed, "r+") as store:
        store.create_array("large", np.random.default_rng(1).random(200_000))
        del store["large"]
        store.compact()
        store.backup(tmp_path / "b.kist")
        store.backup(tmp_path / "c.kist", compact=True)
        assert store.check().ok
    for file in (sealed, tmp_path / "b.kist", tmp_path / "c.kist"):
        with kist.open(file, "r+", secrets=[KEY, OTHER]) as store:
            np.testing.assert_array_equal(store["t"][:], expected())
            store["t"].append(rows_of(3))
            assert store.check().ok


@pytest.mark.parametrize("tool", ["union", "salvage"])
def test_tools_that_would_need_new_manifests_say_so(
    sealed: Path, tmp_path: Path, tool: str
) -> None:
    out = tmp_path / "out.kist"
    if tool == "union":
        with kist.open(sealed) as store, pytest.raises(SecretError, match="sealed"):
            store.union("t")["name"][:]
    else:
        report = kist.salvage(sealed, out)
        assert sorted(loss.column for loss in report.losses) == ["name", "price"]
        with kist.open(out) as store:
            np.testing.assert_array_equal(store["t"][:]["id"], expected()["id"])
            assert store["t"].columns == ("id",)
            assert store.check().ok


def test_a_copy_in_another_file_opens_with_the_same_secrets(sealed: Path, tmp_path: Path) -> None:
    with kist.open(tmp_path / "new.kist", "w") as target:
        with kist.open(sealed, secrets=[KEY, OTHER]) as store:
            target.copy(store["t"], "mine")
        target["mine"].append(rows_of(5))
        assert target.check().ok
    with kist.open(tmp_path / "new.kist", "r+", secrets=[KEY, OTHER]) as target:
        np.testing.assert_array_equal(target["mine"][:70_030], expected())
        target.copy("mine", "again")
        assert len(target["again"]) == 70_035
        np.testing.assert_array_equal(target["again"]["name"][:70_030], expected()["name"])
        assert target.check().ok


# Secrets


def test_a_secret_by_name_promises_that_the_column_is_sealed(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.create_table("a/t", rows_of(5), encrypt={"name": KEY})
    with kist.open(path, secrets={"a/t/name": KEY}) as store:
        assert store["a/t"]["name"][0] == b"n0"
    with kist.open(path, secrets={"name": KEY}) as store:
        assert store["a/t"]["name"][0] == b"n0"
    with (
        kist.open(path, secrets={"a/t/price": KEY}) as store,
        pytest.raises(TamperedDataError, match="'price' is not sealed"),
    ):
        store["a/t"]["id"][:]


def test_a_wrong_secret_is_told_from_a_missing_one_and_shows_neither(sealed: Path) -> None:
    with kist.open(sealed, secrets=os.urandom(32)) as store:
        with pytest.raises(WrongSecretError, match="'name': no secret opens this field"):
            store["t"]["name"][:]
        assert store["t"]["id"][0] == 0


def test_one_secret_opens_several_columns_of_one_field(path: Path) -> None:
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(70_000), encrypt={("name", "price"): [KEY, WORDS]})
        t.append(rows_of(3))
        assert t.sealed == {"name": ("1", "2"), "price": ("1", "2")}
    for secret in (KEY, WORDS):
        with kist.open(path, secrets=secret) as store:
            np.testing.assert_array_equal(store["t"][:70_000], rows_of(70_000))


def test_a_secret_alone_seals_all_columns(path: Path) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", rows_of(100), encrypt=KEY)
    with kist.open(path) as store:
        assert list(store["t"].sealed) == list(DTYPE.names)
        assert len(store["t"]) == 100
        with pytest.raises(SecretError, match="columns 'id', 'name', 'price' are sealed"):
            store["t"]["id"][:]
    with kist.open(path, secrets=KEY) as store:
        np.testing.assert_array_equal(store["t"][:], rows_of(100))


def test_a_key_service_is_asked_with_the_note_that_it_gave(path: Path) -> None:
    keys: dict[bytes, bytes] = {}

    def service(note: bytes | None) -> Any:
        if note is None:
            keys[b"key-7"] = KEY
            return KEY, b"key-7"
        return keys[note]

    with kist.open(path, "w") as store:
        store.create_table("t", rows_of(3), encrypt={"name": service})
    with kist.open(path, secrets=service) as store:
        assert store["t"]["name"][2] == b"n2"


def test_secrets_come_and_go_without_touching_data(sealed: Path) -> None:
    new = os.urandom(32)
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        t = store["t"]
        assert t.add_secret("name", new, label="ann") == "ann"
        assert t.sealed["name"] == ("1", "ann")
        with pytest.raises(SecretError, match="there is a secret 'ann' already"):
            t.add_secret("name", new, label="ann")
        t.remove_secret("name", "1")
        with pytest.raises(SecretError, match="the only secret"):
            t.remove_secret("name", "ann")
        with pytest.raises(DTypeError, match="not sealed"):
            t.add_secret("id", new)
    with kist.open(sealed, secrets=[KEY, OTHER]) as store, pytest.raises(WrongSecretError):
        store["t"]["name"][:]
    with kist.open(sealed, "r+", secrets=[new, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:], expected())
        store["t"].append(rows_of(1))


@pytest.mark.parametrize("now", [False, True])
def test_rotation_locks_out_who_had_a_removed_secret(sealed: Path, now: bool) -> None:
    new = os.urandom(32)
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        store["t"].rotate("name", {"new": new}, now=now)
        np.testing.assert_array_equal(store["t"][:], expected())
        assert store["t"].sealed["name"] == ("new",)
        store["t"].append(rows_of(70_000))
        assert store.check().ok
    with kist.open(sealed, "r+", secrets=[new, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:70_030], expected())
        np.testing.assert_array_equal(store["t"][70_030:], rows_of(70_000))
        store["t"].rotate(now=now)
        store["t"].append(rows_of(1))
        assert store.check().ok
    with kist.open(sealed, secrets=[KEY, OTHER]) as store, pytest.raises(WrongSecretError):
        store["t"]["name"][:]


def test_an_older_version_opens_with_the_secrets_of_then(sealed: Path) -> None:
    new = os.urandom(32)
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        store.tag("before")
        store["t"].rotate("name", new, now=True)
        store["t"].delete(0)
    with kist.open(sealed, version="before", secrets=[KEY, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:], expected())
    with kist.open(sealed, secrets=[new, OTHER]) as store:
        np.testing.assert_array_equal(store["t"][:], expected()[1:])


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "short key": ({"name": b"x"}, SecretError, "32 bytes, not 1"),
    "no secret": ({"name": None}, SecretError, "not NoneType"),
    "no column": ({"nam": KEY}, ColumnNotFoundError, "'nam', which is no column"),
    "twice": ({"name": KEY, ("name", "id"): OTHER}, DTypeError, "'name' twice"),
    "empty": ({}, SecretError, "empty"),
    "empty list": ({"name": []}, SecretError, "empty list"),
    "empty phrase": ({"name": ""}, SecretError, "empty passphrase"),
    "too many": ({"name": [os.urandom(32) for _ in range(17)]}, SecretError, "1 to 16 secrets"),
    "odd key": ({3: KEY}, SecretError, "names a column"),
    "odd label": ({"name": {3: KEY}}, SecretError, "a str, not int"),
    "empty label": ({"name": {"": KEY}}, SecretError, "can be shown: ''"),
    "half a letter": ({"name": {"\ud800": KEY}}, SecretError, "can be shown"),
}


@pytest.mark.parametrize(("encrypt", "error", "text"), BAD.values(), ids=BAD)
def test_bad_secrets_make_no_table(
    path: Path, encrypt: Any, error: type[Exception], text: str
) -> None:
    with kist.open(path, "w") as store:
        with pytest.raises(error, match=text):
            store.create_table("t", rows_of(3), encrypt=encrypt)
        assert "t" not in store


def test_columns_of_a_union_tell_what_they_are(sealed: Path) -> None:
    with kist.open(sealed) as store:
        assert store["t"]["name"].info["sealed"]
        union = store.union("t")
        for name in ("id", "name"):
            assert union[name].info["name"] == name


def test_statistics_of_sealed_columns_tell_which_row_groups_can_match(path: Path) -> None:
    n = 200_000
    with kist.open(path, "w", secrets=KEY) as store:
        rows = {"id": np.arange(n), "x": np.arange(n) / 2}
        t = store.create_table("t", rows, encrypt={"x": KEY})
        for _ in range(2):
            shown = str(t.where("x >= 99990").explain())
            assert "1 of 4 scanned, 3 settled by statistics" in shown
            assert t.where("x >= 99990")["id"][:].tolist() == list(range(n - 20, n))
            t.rotate("x", now=True)  # what is sealed again knows as much


@pytest.mark.parametrize("several", [[KEY, OTHER], {"a": KEY, "b": OTHER}], ids=["list", "dict"])
def test_secrets_are_added_one_by_one(sealed: Path, several: Any) -> None:
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        before = store["t"].sealed
        with pytest.raises(SecretError, match=r"2 secrets: .* one by one"):
            store["t"].add_secret("name", several)
        assert store["t"].sealed == before


def test_what_would_stand_in_clear_is_refused(sealed: Path) -> None:
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        with pytest.raises(DTypeError, match="fill_value for 'name' would stand"):
            store.create_table("u", rows_of(3), fill_value={"name": b"x"}, encrypt={"name": KEY})
        t = store["t"]
        with pytest.raises(
            DTypeError, match=r"computed from 'price', which is sealed.*virtual=True"
        ):
            t.add_column("double", kist.expr("price * 2"))
        with pytest.raises(DTypeError, match=r"would stand in the file in clear.*give the value"):
            t["price"].fill_value = 3.0
        with pytest.raises(DTypeError, match="the column is sealed"):
            t.cast_column("price", "f4")
        with pytest.raises(DTypeError, match="the column is sealed"):
            t.drop_column("price")
        with pytest.raises(SecretError, match="what would replace it has none"):
            store["t"] = rows_of(3)
        with pytest.raises(SecretError, match="what would replace it has none"):
            store.create_table("t", rows_of(3), overwrite=True)
        store.create_table("t", rows_of(3), overwrite=True, encrypt={"name": KEY})
        assert list(store["t"].sealed) == ["name"]


def test_a_table_of_sealed_columns_alone_gets_none_in_clear(path: Path) -> None:
    """`encrypt=key` says that all of it is sealed; what comes later would not be."""
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows_of(50), encrypt=KEY)
        t.add_column("more", "id + 1", virtual=True)
        for data in (5, np.arange(50), kist.expr("1 + 1")):
            with pytest.raises(DTypeError, match=r"every column .* is sealed.*make a new table"):
                t.add_column("late", data)
        t.drop_column("more")
        with pytest.raises(DTypeError, match="every column"):
            t.add_column("late", "i4", fill_value=0)
        assert t.columns == ("id", "name", "price")
        some = store.create_table("some", rows_of(50), encrypt={("id", "name"): KEY})
        some.add_column("late", 5)
        assert some.sealed.keys() == {"id", "name"}


def test_open_columns_of_a_sealed_table_change_as_in_any_other(sealed: Path) -> None:
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as store:
        t = store["t"]
        t.add_column("flag", np.arange(70_030) % 2 == 0)
        t.add_column("twice", kist.expr("id * 2"))
        t.rename_column("name", "who")
        t.reorder(["who", "flag", "id", "price", "twice"])
        t.cast_column("flag", "i1")
        t.create_index("id")
        t.drop_column("twice")
        t.append(np.zeros(3, t.dtype))
    with kist.open(sealed, secrets={"t/who": KEY, "t/price": OTHER}) as store:
        t = store["t"]
        np.testing.assert_array_equal(t["who"][:-3], expected()["name"])
        np.testing.assert_array_equal(t["price"][:-3], expected()["price"])
        assert t.where("id == 500")["flag"][:].tolist() == [0, 1]
        assert store.check().ok
    with kist.open(sealed) as store:
        assert store["t"].where("id == 500").count() == 2


def test_secrets_are_in_no_repr_traceback_or_pickle(path: Path) -> None:
    phrase, raw = "never to be shown at all", bytes(range(200, 232))
    seen = io.StringIO()

    def told(run: Callable[[], Any]) -> None:
        try:
            run()
        except Exception as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            # The frame of the caller is the caller's own.
            for frame in shown.stack:
                if "kist" in frame.filename and "tests" not in frame.filename:
                    seen.write(repr(frame.locals))
            seen.write(str(error))

    with kist.open(path, "w") as store:
        table = store.create_table("t", rows_of(3), encrypt={"name": [phrase, raw]})
        seen.write(repr(store) + repr(table) + repr(vars(store._session)))
        seen.write(repr(store._session.engine.reader.keyring))
        told(lambda: store.create_table("u", rows_of(3), encrypt={"name": [phrase, b"short"]}))
        told(lambda: store.create_table("u", rows_of(3), encrypt={"name": {"a": phrase, "b": 3}}))
        told(lambda: store.create_table("u", rows_of(3), encrypt={"nothing": phrase}))
        told(lambda: table.add_secret("id", phrase))
        told(lambda: table.rotate("name", [phrase, b"short"]))
        told(lambda: pickle.dumps(store._session.engine.reader.keyring))
    told(lambda: kist.open(path, secrets=[phrase, b"short"]))
    told(lambda: kist.open(path, secrets={"t/name": [raw, 5]}))
    told(lambda: kist.open(path, "nonsense", secrets=phrase))
    with kist.open(path, secrets=phrase[::-1]) as store:
        told(lambda: store["t"][:])
        pickled = pickle.dumps(store["t"])
        with pickle.loads(pickled).store as copy, pytest.raises(SecretError, match="no secret was"):
            copy["t"]["name"][:]
    for secret in (phrase, phrase[::-1], raw):
        assert str(secret) not in seen.getvalue()
        assert repr(raw)[2:-1] not in seen.getvalue()
        data = secret if isinstance(secret, bytes) else secret.encode()
        assert data not in pickled


def test_a_forked_writer_and_a_second_handle_keep_apart(sealed: Path) -> None:
    with kist.open(sealed, "r+", secrets=[KEY, OTHER]) as holder, kist.open(sealed) as other:
        np.testing.assert_array_equal(holder["t"]["name"][:], expected()["name"])
        # What the first has decoded is no way around the secret.
        for read in (lambda: other["t"]["name"][-1], lambda: other["t"]["name"][5]):
            with pytest.raises(SecretError):
                read()


# Programs of changes


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_sealed_tables_do_what_arrays_do(tmp_path: Path, data: st.DataObject) -> None:
    """Appends, updates and deletes in steps and transactions, with checkpoints and reopening."""
    path = tmp_path / f"{os.urandom(8).hex()}.kist"
    model = rows_of(data.draw(st.sampled_from([0, 10, 5_000])))
    secrets = {"t/name": KEY, "t/price": OTHER}
    with kist.open(path, "w", durability="none") as store:
        store.create_table("t", model, dtype=DTYPE, encrypt={"name": KEY, "price": OTHER})
    for _ in range(data.draw(st.integers(1, 3))):
        with kist.open(path, "r+", secrets=secrets, durability="none") as store:
            t = store["t"]
            for _ in range(data.draw(st.integers(1, 12))):
                step = data.draw(st.sampled_from(["few", "many", "set", "delete", "undo"]))
                n = len(model)
                if step in ("few", "many"):
                    new = rows_of(7 if step == "few" else 5_000, n)
                    t.append(new)
                    model = np.concatenate([model, new])
                elif step == "set" and n:
                    at = data.draw(st.integers(0, n - 1))
                    t["price"][at : at + 9] = 1.5
                    model["price"][at : at + 9] = 1.5
                elif step == "delete" and n:
                    at = data.draw(st.integers(0, n - 1))
                    t.delete(slice(at, at + 3))
                    model = np.delete(model, slice(at, at + 3))
                elif step == "undo":
                    with pytest.raises(ZeroDivisionError), store.transaction():
                        t.append(rows_of(20))
                        t.truncate(0)
                        raise ZeroDivisionError
            if data.draw(st.booleans()):
                store.compact()
        with kist.open(path, secrets=secrets) as store:
            np.testing.assert_array_equal(store["t"][:], model)
    with kist.open(path, secrets=secrets) as store:
        assert store.check().ok, store.check()
    path.unlink()


def test_the_golden_file_still_opens(sealed_golden: Callable[[str], Any]) -> None:
    golden = sealed_golden("table")
    with kist.open(golden.FOLDER / "table.kist", secrets=[golden.PHRASE, golden.KEY]) as store:
        np.testing.assert_array_equal(store["t"][:], golden.expected())
        assert store["t"].sealed == {"name": ("phrase",), "x": ("key",), "y": ("key",)}
        assert store.check().ok
