"""Sealed columns that are read through links and unions of several files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.engine.sealedrecords import SealedPointer
from kist.errors import SecretError, TamperedDataError, WrongSecretError
from kist.model.unions.backend import FILE_BITS
from kist.model.unions.state import _tagged

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def rows_of(job: int) -> np.ndarray:
    n = 100 if job == 1 else 5_000  # a piece, and pages
    rows = np.zeros(n, [("id", "i8"), ("name", "S6"), ("x", "f8")])
    rows["id"] = np.arange(n) + 10_000 * job
    rows["name"], rows["x"] = b"job-%d" % job, job + 0.5
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    for job in (1, 2, 3):
        with kist.open(folder / f"{job}.kist", "w", secrets=KEY) as store:
            table = store.create_table("t", rows_of(job), encrypt={("name", "x"): KEY})
            table.where("id % 1000 == 7").update({"x": -1.0})
    with kist.open(folder / "all.kist", "w") as store:
        store.create_union("t", "t", files="[123].kist")
        store.create_link("one", "/t", file="2.kist")
    return folder


@pytest.fixture
def expected() -> np.ndarray:
    rows = np.concatenate([rows_of(job) for job in (1, 2, 3)])
    rows["x"][rows["id"] % 1000 == 7] = -1.0
    return rows


@pytest.mark.parametrize("secrets", [KEY, [OTHER, KEY]])
def test_secrets_without_a_name_open_the_parts(
    made: Path, expected: np.ndarray, secrets: object
) -> None:
    with kist.open(made / "all.kist", secrets=secrets) as store:
        table = store["t"]
        assert np.array_equal(table[:], expected)
        assert table.where("name == 'job-2'").count() == 5_000
        assert table.where("x == -1")["id"][:].tolist() == [
            n for n in expected["id"].tolist() if n % 1000 == 7
        ]
        assert table["x"][-1] == 3.5 and store["one"]["name"][0] == b"job-2"
        assert set(table.group_by("name").agg({"x": "count"})["name"].tolist()) == {
            b"job-1", b"job-2", b"job-3",
        }  # fmt: skip


def test_without_a_secret_the_open_columns_are_read(made: Path, expected: np.ndarray) -> None:
    with kist.open(made / "all.kist") as store:
        assert np.array_equal(store["t"]["id"][:], expected["id"])
        assert store["t"].where("id == 20007").count() == 1
        with pytest.raises(SecretError, match="are sealed, and no secret was given"):
            store["t"]["x"].sum()
    with (
        kist.open(made / "all.kist", secrets=OTHER) as store,
        pytest.raises(WrongSecretError),
    ):
        store["t"]["x"].sum()


@pytest.mark.parametrize("name", ["other/name", "name"])
def test_a_secret_by_name_is_offered_to_no_other_file(made: Path, name: str) -> None:
    with kist.open(made / "all.kist", secrets={name: KEY}) as store:
        with pytest.raises(SecretError, match="no secret was given"):
            store["t"]["name"][:]
        with pytest.raises(SecretError, match="no secret was given"):
            store["one"]["name"][:]
    with (
        kist.open(made / "all.kist", secrets={"t/name": KEY}) as store,
        pytest.raises(TamperedDataError, match="is a link"),
    ):
        store["t"]


def test_the_link_holds_nothing_of_sealed_values(made: Path) -> None:
    with kist.open(made / "all.kist") as store:
        said = store.open_link("t")._record().said
        names = {leaf.id: leaf.path for leaf in store["t"]._state().schema.leaves}
        assert {names[leaf] for leaf in said["statistics"]} == {("id",)}
    data = (made / "all.kist").read_bytes()
    assert b"job-1" not in data and b"job-3" not in data


def test_an_exchanged_extent_of_a_part_is_not_shown(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    with kist.open(tmp_path / "2.kist", secrets=KEY) as store:
        state = store["t"]._state()
        (leaf,) = [leaf for leaf in state.schema.leaves if leaf.path == ("x",)]
        pointer, _ = state.find_page(leaf, state.layout.groups[0])
    with open(tmp_path / "2.kist", "r+b") as file:
        file.seek(pointer.stored.offset + 128 + pointer.stored.head + 20)
        file.write(b"\xff\x00\xff")
    with kist.open(tmp_path / "all.kist", secrets=KEY) as store:
        assert store["t"]["x"][50] == 1.5
        with pytest.raises((kist.CorruptDataError, TamperedDataError)):
            store["t"]["x"][:]


def test_a_pointer_of_a_part_is_called_what_it_is_called_in_its_file(made: Path) -> None:
    with kist.open(made / "2.kist", secrets=KEY) as store:
        state = store["t"]._state()
        (leaf,) = [leaf for leaf in state.schema.leaves if leaf.path == ("x",)]
        pointer, _ = state.find_page(leaf, state.layout.groups[0])
        moved = _tagged(pointer, 5 << FILE_BITS)
        assert isinstance(moved, SealedPointer)
        assert (moved.where, moved.salt, moved.keys) == (pointer.where, pointer.salt, pointer.keys)
        assert moved.offset >> FILE_BITS == moved.stored.offset >> FILE_BITS == 5
        said = str(moved.named(TamperedDataError("why")))
        assert said == "'/t' column 'x', page of row id 0: why"
    files = [made / f"{job}.kist" for job in (1, 2, 3)]
    with (
        kist.union(files[::-1], "t", secrets=KEY) as whole,
        kist.open(made / "all.kist", secrets=KEY) as store,
    ):
        for table, order in ((whole, files[::-1]), (store["t"], files)):
            with table._hold() as view:
                groups = [group for group in view.table.layout.groups if group.is_pages]
                assert {order[group.place] for group in groups} == {*files[1:]}
                for group in groups:
                    pointer, _ = view.table.find_page(leaf, group)
                    said = str(pointer.named(TamperedDataError("why")))
                    assert said.startswith(f"'{order[group.place]}': '/t' column 'x', page of row")


def test_unions_of_several_files_take_secrets(made: Path, expected: np.ndarray) -> None:
    files = [made / f"{job}.kist" for job in (1, 2, 3)]
    with kist.union(files, "t", secrets=KEY) as whole:
        assert np.array_equal(whole[:], expected)
    with kist.union(files, "t") as whole, pytest.raises(SecretError):
        whole["x"].sum()
    with (
        kist.open(files[0], secrets=KEY) as one,
        kist.open(files[1]) as two,
        kist.union([one, two], "t") as whole,
    ):
        assert whole["x"][:100].max() == 1.5
        with pytest.raises(SecretError):
            whole["x"][:]


def test_sealed_arrays_of_many_files_are_read_as_one(tmp_path: Path) -> None:
    whole = np.arange(60.0).reshape(20, 3)
    for number in range(2):
        with kist.open(tmp_path / f"{number}.kist", "w") as store:
            store.create_array("x", whole[10 * number : 10 * number + 10], encrypt=KEY)
    with kist.open(tmp_path / "all.kist", "w") as store:
        store.create_union("x", "x", files="[01].kist")
    with kist.open(tmp_path / "all.kist", secrets=[KEY]) as store:
        assert np.array_equal(store["x"][:], whole) and store["x"][12, 1] == whole[12, 1]
    with kist.open(tmp_path / "all.kist") as store:
        assert store["x"].shape == (20, 3)
        with pytest.raises(SecretError):
            store["x"][0]
