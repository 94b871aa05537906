"""Sealed groups: what is made in one is sealed, whoever has no secret sees names and sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.engine.view import View
from kist.errors import DTypeError, SecretError, TamperedDataError, WrongSecretError

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
WORDS = b"Ann Smith has it"
ROWS = np.array([(1, WORDS), (2, b"no")], "i4,S16")


def fill(store: Any) -> Any:
    ward = store.create_group("ward", encrypt={"lab": KEY}, attrs={"of": WORDS.decode()})
    ward["rows"] = ROWS
    ward["rows"]["f1"].attrs["unit"] = WORDS.decode()
    ward["scans"] = np.arange(60_000).reshape(300, 200)
    ward["sub/deep/few"] = [1.5, 2.5]
    ward["sub"].attrs.update({"large": np.frombuffer(WORDS * 900, "u1"), "b": 1})
    ward.create_keystore("runs", title=WORDS.decode())[WORDS.decode()] = WORDS
    return ward


def holds(store: Any, ward: str = "ward") -> None:
    group = store[ward]
    assert group["rows"][:].tolist() == ROWS.tolist()
    assert group["rows"]["f1"].attrs.unit == WORDS.decode()
    assert group["scans"][7, 7] == 1407
    assert group["sub/deep/few"][:].tolist() == [1.5, 2.5]
    assert dict(group.attrs) == {"of": WORDS.decode()}
    assert sorted(group["sub"].attrs) == ["b", "large"] and group["sub"].attrs.b == 1
    assert group["sub"].attrs["large"].tobytes() == WORDS * 900
    assert dict(group["runs"]) == {WORDS.decode(): WORDS} and group["runs"].title == WORDS.decode()


@pytest.fixture
def file(path: Path) -> Path:
    with kist.open(path, "w") as store:
        fill(store)
        store["open"] = [1]
    return path


def test_everything_made_in_it_is_sealed_and_opens_with_its_secret(file: Path) -> None:
    assert WORDS not in file.read_bytes()
    for secrets in (KEY, [OTHER, KEY], {"ward": KEY}):
        with kist.open(file, secrets=secrets) as store:
            holds(store)
            assert store["ward"].sealed == store["ward/sub"].sealed == ("lab",)
            assert store["ward/scans"].sealed == ("group",)
            assert set(store["ward/rows"].sealed) == {"f0", "f1"}
            report = store.check()
            assert report.ok and not report.notes
            assert "sealed" in repr(store["ward"]) and store["ward"].info["sealed"] == ["lab"]


@pytest.mark.parametrize(
    "look",
    [
        lambda ward: ward["rows"][:],
        lambda ward: ward["rows"]["f0"][:],
        lambda ward: ward["scans"][0, 0],
        lambda ward: ward["sub/deep/few"][:],
        lambda ward: list(ward["runs"]),
        lambda ward: ward.attrs["of"],
        lambda ward: list(ward["sub"].attrs),
        lambda ward: ward["rows"]["f1"].attrs.get("unit"),
        lambda ward: ward["runs"].title,
    ],
)
@pytest.mark.parametrize("secrets", [None, OTHER])
def test_without_the_secret_nothing_is_read(file: Path, look: Any, secrets: Any) -> None:
    with kist.open(file, secrets=secrets) as store, pytest.raises(SecretError) as caught:
        look(store["ward"])
    assert isinstance(caught.value, WrongSecretError) == (secrets is not None)
    assert not isinstance(caught.value, TamperedDataError)


def test_without_the_secret_it_is_listed_checked_backed_up_and_deleted(
    file: Path, tmp_path: Path
) -> None:
    with kist.open(file, "r+") as store:
        assert list(store["ward"]) == ["rows", "runs", "scans", "sub"]
        assert store["ward/scans"].shape == (300, 200) and store["ward"].sealed == ("lab",)
        assert "scans" in str(store.tree()) and "n_attributes" not in store["ward"].info
        for node in ("ward", "ward/rows", "ward/scans", "ward/runs"):
            assert store[node].info["title"] is None
            assert WORDS.decode() not in repr(store[node]) + str(store[node].attrs)
        report = store.check()
        assert report.ok and any("'/ward': sealed" in note for note in report.notes)
        store.backup(tmp_path / "copy.kist", compact=True)
        store.compact()
        del store["ward/scans"]
        del store["ward"]
        assert list(store) == ["open"]
    with kist.open(tmp_path / "copy.kist", secrets=KEY) as store:
        holds(store)
        assert store.check().ok


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store["ward"].create_array("new", [1]),
        lambda store: store.create_table("ward/sub/new", ROWS),
        lambda store: store["ward"].create_keystore("new"),
        lambda store: store.create_group("ward/new"),
        lambda store: store["ward"].attrs.update(a=1),
        lambda store: store["ward/sub"].attrs.clear(),
        lambda store: store["ward/scans"].attrs.pop("a"),
        lambda store: store["ward/rows"].append(ROWS),
        lambda store: store.move("ward/sub", "ward/other"),
        lambda store: store.move("ward", "other"),
        lambda store: store.copy("ward", "other"),
        lambda store: store["ward"].add_secret(OTHER),
        lambda store: store["ward"].remove_secret("lab"),
        lambda store: store["ward"].rotate(),
    ],
)
def test_without_the_secret_nothing_is_changed(file: Path, change: Any) -> None:
    with kist.open(file, "r+") as store:
        before = store.history()[0].id
        with pytest.raises(SecretError):
            change(store)
        assert store.history()[0].id == before


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.copy("ward/scans", "scans"),
        lambda store: store.copy("open", "ward/open"),
        lambda store: store.copy("ward", "ward/sub/ward"),
        lambda store: store.copy("ward/sub", "second/sub"),
        lambda store: store.copy("second", "ward/second"),
        lambda store: store.move("ward/scans", "scans"),
        lambda store: store.move("open", "ward/open"),
        lambda store: store.move("ward/scans", "second/scans"),
        lambda store: store.move("second", "ward/second"),
        lambda store: store.create_group("ward/sub/more", encrypt=OTHER),
        lambda store: store.create_table("ward/more", ROWS, encrypt=OTHER),
        lambda store: store["ward"].create_array("more", [1], encrypt=OTHER),
        lambda store: store.create_keystore("ward/more", encrypt=OTHER),
        lambda store: store.create_link("ward/link", "open"),
        lambda store: store.create_union("ward/link", "open"),
        lambda store: store["ward/scans"].add_secret(OTHER),
        lambda store: store["ward/scans"].rotate(OTHER),
        lambda store: store["ward/rows"].add_secret("f0", OTHER),
        lambda store: store["ward/rows"].rotate(),
        lambda store: store["ward/sub"].rotate(),
    ],
)
def test_nothing_crosses_its_border_as_it_is_stored(file: Path, change: Any) -> None:
    with kist.open(file, "r+", secrets=[KEY, OTHER]) as store:
        store.create_group("second", encrypt=OTHER)
        before = store.history()[0].id
        with pytest.raises(SecretError) as caught:
            change(store)
        assert not isinstance(caught.value, TamperedDataError)
        assert store.history()[0].id == before
        holds(store)


def test_columns_in_clear_do_not_come_into_it(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        with pytest.raises(DTypeError, match="sealed group"):
            store["ward/rows"].add_column("more", [1, 2])
        with pytest.raises(DTypeError, match="not sealed"):
            store.create_group("clear").rotate()


def test_what_stands_in_it_is_moved_copied_replaced_and_renamed(file: Path, tmp_path: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        store.copy("ward", "copies/ward")
        store.copy("ward/sub", "ward/other/sub")
        holds(store, "copies/ward")
        store.move("ward/scans", "ward/other/scans")
        store.move("ward/other/scans", "ward/scans")
        store["ward/scans"][0, 0] = 0
        store["ward/rows"] = ROWS
        store["ward/rows"]["f1"].attrs["unit"] = WORDS.decode()
        assert store["ward/rows"].sealed
        store.move("ward", "moved")
        with kist.open(tmp_path / "second.kist", "w") as other:
            other.copy(store["moved"], "ward")
            holds(other)
        assert store.check().ok
    for path, wards in ((file, ("moved", "copies/ward")), (tmp_path / "second.kist", ("ward",))):
        with kist.open(path, "r+", secrets=KEY) as store:
            for ward in wards:
                holds(store, ward)
                store[ward].rotate(now=True)
                holds(store, ward)
            report = store.check()
            assert report.ok and not report.notes


def test_secrets_come_go_and_are_rotated_for_all_that_stands_in_it(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        ward = store["ward"]
        assert ward.add_secret(OTHER, label="more") == "more"
        ward.remove_secret("lab")
        store.tag("before")
    with kist.open(file, "r+", secrets=OTHER) as store:
        holds(store)
        store["ward"].rotate({"new": KEY})
        store["ward/late"] = [3]
    with kist.open(file, secrets=OTHER) as store, pytest.raises(WrongSecretError):
        store["ward/rows"][:]
    with kist.open(file, "r+", secrets=KEY) as store:
        holds(store)
        store["ward"].rotate(now=True)
        assert store["ward/late"][0] == 3 and store["ward"].sealed == ("new",)
        assert store.check().ok
    with kist.open(file, secrets=OTHER, version="before") as store:
        holds(store)


def test_a_transaction_that_is_rolled_back_leaves_it_as_it_was(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store["ward/new"] = [1]
            store["ward"].attrs.clear()
            store["ward"].rotate(OTHER)
            store.move("ward/sub", "ward/else")
            _ = 1 / 0
        holds(store)
        with store.transaction():
            store["ward"].attrs["a"] = 1
            with pytest.raises(ZeroDivisionError), store.transaction():
                store["ward"].attrs["b"] = 2
                _ = 1 / 0
            assert dict(store["ward"].attrs) == {"of": WORDS.decode(), "a": 1}
        del store["ward"].attrs["a"]
    with kist.open(file, secrets=KEY) as store:
        holds(store)
        assert store.check().ok


def test_links_lead_into_it_and_unions_read_its_tables(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        store["ward/more"] = ROWS
        store.create_link("newest", "ward/scans")
        assert store["newest"][7, 7] == 1407
        assert store.union("ward/rows", "ward/more").where("f0 == 1").count() == 2
    with kist.open(file) as store, pytest.raises(SecretError):
        store["newest"][0, 0]


def test_parts_conversions_and_salvage_leave_it_alone(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SecretError):
        kist.split(file, "ward/scans", parts=2, out=tmp_path / "parts")
    assert not list(tmp_path.glob("parts/*"))
    with pytest.raises(SecretError):
        kist.convert(file, tmp_path / "out.h5", secrets=KEY)
    report = kist.salvage(file, tmp_path / "saved.kist")
    assert not report.ok
    with kist.open(tmp_path / "saved.kist") as store:
        assert store["open"][0] == 1 and "scans" not in store.get("ward", {})
        assert store.check().ok
    assert WORDS not in (tmp_path / "saved.kist").read_bytes()


def test_a_group_in_the_place_of_a_named_one_is_not_made_in_clear(path: Path) -> None:
    with kist.open(path, "w", secrets={"ward": KEY}) as store:
        for make in (
            lambda: store.create_group("ward"),
            lambda: store.create_array("ward/x", [1]),
        ):
            with pytest.raises(SecretError, match="by name"):
                make()
        store.create_group("ward", encrypt=KEY)["x"] = [1]
        assert store["ward/x"].sealed


def test_what_has_other_keys_is_no_copy_within_a_group(tmp_path: Path) -> None:
    """Of the group before its keys were changed, and of another one in a fork of the file."""
    path, fork = tmp_path / "a.kist", tmp_path / "b.kist"
    key, other = bytes(32), bytes(range(32))
    with kist.open(path, "w") as store:
        store["x"] = [1]
    fork.write_bytes(path.read_bytes())
    with kist.open(path, "r+", secrets=[key]) as store:
        group = store.create_group("g", encrypt=key)
        group["t"] = np.arange(5)
        store.tag("old")
        store.copy("g/t", "g/same")
        group.rotate({"new": other}, now=True)
        with pytest.raises(SecretError, match="border"):
            store.copy(store.at("old")["g/t"], "g/back")
    with kist.open(fork, "r+", secrets=[other]) as store:
        store.create_group("h", encrypt=other)["u"] = np.arange(9)
    with (
        kist.open(path, "r+", secrets=[key, other]) as store,
        kist.open(fork, secrets=[other]) as second,
    ):
        assert second["h"]._id == store["g"]._id
        with pytest.raises(SecretError, match="border"):
            store.copy(second["h/u"], "g/u")
        assert list(store["g"]) == ["same", "t"]
        assert store["g/same"][:].tolist() == list(range(5))


@pytest.mark.parametrize("how", ["move", "copy"])
@pytest.mark.parametrize("target", ["g", "g/h"])
def test_nothing_in_clear_takes_the_place_of_a_group_that_was_named(
    tmp_path: Path, how: str, target: str
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["y/t"] = np.arange(3)
    with kist.open(tmp_path / "a.kist", "r+", secrets={"g": bytes(32)}) as store:
        with pytest.raises(SecretError):
            getattr(store, how)("y", target)
        assert list(store) == ["y"]


def looks_to_open(path: Path, depth: int) -> tuple[int, int, int]:
    """Records that are looked at for a first handle, for one beside it, and for its attribute."""
    key, folder = bytes(32), "/".join(["d"] * depth)
    with kist.open(path, "w") as store:
        group = store.create_group("g", encrypt=key)
        for place in (group, store):
            for name in "ab":
                place[f"{folder}/{name}"] = [1]
                place[f"{folder}/{name}"].attrs["unit"] = "m"
    looks: list[bytes] = []
    real = View.get
    counts = []
    with kist.open(path, secrets=[key]) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(View, "get", lambda self, key: looks.append(key) or real(self, key))
        for name in (f"g/{folder}/a", f"{folder}/a", f"{folder}/b"):
            looks.clear()
            assert store[name].attrs["unit"] == "m"
            counts.append(len(looks))
    return counts[0], counts[1], counts[2]


def test_depth_costs_no_more_than_it_is_deep(tmp_path: Path) -> None:
    few, many = (looks_to_open(tmp_path / f"{n}.kist", n) for n in (20, 80))
    assert many[0] < 5 * few[0]  # sealed
    assert many[1] < 5 * few[1]  # in clear
    assert many[2] - few[2] < 2 * 60  # of groups known already, but for the way down
