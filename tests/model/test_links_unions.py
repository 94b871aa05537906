"""Unions that are stored: of one store, and tables whose parts stand in other files."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.link import LinkForm, LinkRecord
from kist.format.values import pack_record
from kist.model.links.records import put_link

DTYPE = [("t", "i8"), ("x", "f8"), ("s", "S8"), ("u", "U3"), ("d", "M8[s]"), ("c", "c8")]
N_PARTS = 6


def rows_of(job: int) -> np.ndarray[Any, Any]:
    """Rows of a part: half of the parts are one piece, the others two row groups."""
    n = 100 if job % 2 else 70_000
    rows = np.zeros(n, DTYPE)
    rows["t"] = np.arange(n) + 100_000 * job
    rows["x"] = np.random.default_rng(job).normal(size=n)
    rows["x"][::7] = np.nan
    rows["s"], rows["u"] = b"job-%d" % job, f"j{job}"
    rows["d"], rows["c"] = rows["t"], rows["t"] * 1j
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linked")
    (folder / "parts").mkdir()
    for job in range(N_PARTS):
        with kist.open(folder / "parts" / f"{job}.kist", "w") as store:
            store["g/trades"] = rows_of(job)
            store["g/trades"].delete(slice(0, 5))
            if job == 2:
                store["g/trades"].where("t % 1000 == 10").update({"x": 99.0})
    with kist.open(folder / "all.kist", "w") as store:
        store.create_union("all", "g/trades", files="parts/*.kist", title="All jobs")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def table(made: Path) -> Iterator[kist.LinkedTable]:
    with kist.open(made / "all.kist") as store:
        yield store["all"]


def test_opening_and_looking_opens_no_part(table: kist.LinkedTable) -> None:
    assert len(table) == 3 * 69_995 + 3 * 95 and table.columns == tuple(name for name, _ in DTYPE)
    assert "209,985 rows x 6 columns in 6 files, 0 open" not in repr(table)  # 210,270
    assert "210,270 rows x 6 columns in 6 files, 0 open" in repr(table)
    assert table.title == "All jobs" and table.files[0] == os.path.join("parts", "0.kist")
    assert table.nbytes_stored > 0 and table.store.open_link("all").info["dangling"] is False
    assert "all  link -> g/trades of 6 files" in str(table.store.tree())
    assert table.n_open == 0


def test_it_reads_and_answers_as_the_union_of_its_parts(table: kist.LinkedTable) -> None:
    with kist.union(
        sorted((Path(table.store.path).parent / "parts").iterdir()), "g/trades"
    ) as whole:
        rows = whole[:]
        for ask in (
            lambda t: t.where("t == 200123")[:],
            lambda t: t.where("(s == 'job-3') | (x > 2.5)")["t"][:],
            lambda t: t.where("u == 'j4'").count(),
            lambda t: t.where("x == 99").indices(),
            lambda t: t.where("isnan(x)").count(),
            lambda t: t.where("d > d2", d2=np.datetime64(450_000, "s"))["s"][:],
            lambda t: t.where("t < 0")[:],
            lambda t: (t["t"].min(), t["x"].max(), t.where("t > 100_050")["t"].min()),
            lambda t: t.sort_by("x")[:5],
            lambda t: t.group_by("s").agg({"t": ["mean", "count"]}),
            lambda t: [block["t"].sum() for block in t.blocks(50_000)],
            lambda t: t[[0, -1, 100_000]],
            lambda t: t["c"][69_990:70_100:3],
        ):
            with kist.open(table.store.path) as store:  # nothing is open yet
                found, wanted = np.asarray(ask(store["all"])), np.asarray(ask(whole))
                assert (found.dtype, found.tobytes()) == (wanted.dtype, wanted.tobytes())
        assert table[:].tobytes() == rows.tobytes()
        assert [len(part) for part in table.parts] == [69_995, 95] * 3


@pytest.mark.parametrize(
    ("condition", "opened"),
    [
        ("t == 300050", 1), ("s == 'job-3'", 1), ("u >= 'j4'", 2), ("(t < 100) | (t > 500000)", 2),
        ("t < 0", 0), ("x == 99", 1), ("c == 1", N_PARTS), ("(s == 'job-1') & (t > 200000)", 0),
    ],
)  # fmt: skip
def test_a_condition_opens_the_parts_that_can_match(
    table: kist.LinkedTable, condition: str, opened: int
) -> None:
    table.where(condition).count()
    assert table.n_open == opened


def test_positions_open_the_parts_that_they_are_in(table: kist.LinkedTable) -> None:
    assert table[70_000]["t"] == 100_010 and table.n_open == 1
    assert table["t"][-1] == 500_099 and table.n_open == 2


def test_a_part_that_is_gone_hurts_when_it_is_touched(folder: Path) -> None:
    (folder / "parts" / "3.kist").unlink()
    with kist.open(folder / "all.kist") as store:
        table = store["all"]
        assert table.where("t == 200123").count() == 1
        with pytest.raises(kist.LinkError, match=r"link '/all' leads to .*3\.kist', which is not"):
            table.where("t == 300050").count()
        with pytest.raises(kist.LinkError, match=r"3\.kist"):
            table["x"].sum()
        assert "(dangling)" in repr(store.open_link("all"))
        assert store.check().ok


def test_a_part_that_has_changed_shows_what_was_linked_or_nothing(folder: Path) -> None:
    part = folder / "parts" / "3.kist"
    with kist.open(part, "r+") as store:
        store.tag("linked")
        store["other"] = [1]  # changes nothing of the table
    with kist.open(folder / "all.kist") as store:
        assert store["all"].where("t == 300050").count() == 1
    for n in range(3):  # until nothing but the tag names the commit that was linked
        with kist.open(part, "r+") as store:
            store["g/trades"].update({"x": float(n)})
            store["g/trades"].append(rows_of(2))
            store.compact()
    with kist.open(folder / "all.kist") as store:
        assert store["all"].where("t == 300050").count() == 1
        assert not (store["all"].where("t == 300050")["x"][:] == 2.0).any()
    with kist.open(part, "r+") as store:
        store.untag("linked")
    for n in range(3):
        with kist.open(part, "r+") as store:
            store["g/trades"].update({"x": float(n)})
            store.compact()
            store["g/trades"].append(rows_of(2))
    with kist.open(folder / "all.kist", "r+") as store:
        with pytest.raises(kist.LinkError, match=r"parts/3\.kist' has changed since .*renew\(\)"):
            store["all"].where("t == 300050").count()
        assert store["all"].where("t == 400050").count() == 1
        store.open_link("all").renew()
        assert store["all"].where("t == 300050")["x"][:].tolist() == [2.0]
    with kist.open(part, "r+") as store:
        del store["g/trades"]
    with kist.open(folder / "all.kist") as store:  # the commit that was linked is still in the log
        assert store["all"].where("t == 300050").count() == 1


def test_a_replaced_part_is_another_store(folder: Path) -> None:
    with kist.open(folder / "new.kist", "w") as store:
        store["g/trades"] = rows_of(3)
    os.replace(folder / "new.kist", folder / "parts" / "3.kist")
    with kist.open(folder / "all.kist") as store:
        table = store["all"]
        with pytest.raises(kist.LinkError, match=r"3\.kist', which is another store"):
            table.where("t == 300050").count()


def test_renewing_finds_files_that_have_come(folder: Path) -> None:
    shutil.copy(folder / "parts" / "1.kist", folder / "parts" / "9.kist")
    with kist.open(folder / "all.kist", "r+") as store:
        old, told = store["all"], []
        store.open_link("all").renew(lambda done, total: told.append((done, total)))
        assert len(old) == 210_270 and len(store["all"]) == 210_365
        assert told[-1] == (N_PARTS + 1, N_PARTS + 1)
        assert store.check().ok
        store.create_union("x", "g/trades", files=["parts/9.kist"])
        link = store.create_link("l", "x")
        with pytest.raises(kist.LinkError, match="nothing to renew"):
            link.renew()
        assert len(store["l"]) == 95


def test_no_part_outside_the_roots_is_linked_or_opened(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    with kist.open(inner / "a.kist", "w") as store:
        with pytest.raises(kist.LinkError, match="link_roots="):
            store.create_union("all", "g/trades", files="../parts/*.kist")
        assert list(store) == []
    with kist.open(inner / "a.kist", "w", link_roots=folder) as store:
        store.create_union("all", "g/trades", files="../parts/*.kist")
        assert store["all"].where("t == 300050").count() == 1
    with kist.open(inner / "a.kist") as store:
        table = store["all"]
        with pytest.raises(kist.LinkError, match="link_roots="):
            table.where("t == 300050").count()


def test_bad_input_changes_nothing(folder: Path) -> None:
    with kist.open(folder / "odd.kist", "w") as odd:
        odd["g/trades"] = np.zeros(2, [("t", "i4"), ("new", "f8")])
        odd["array"] = [1]
        odd.create_group("empty")
    with kist.open(folder / "all.kist", "r+") as store:
        for error, match, paths, files in (
            (kist.DTypeError, r"(?s)'odd.kist'.*~ t: int64 -> int32", ["g/trades"],
             ["parts/1.kist", "odd.kist"]),
            (kist.SelectionError, "'empty' of 'odd.kist' is no table", ["empty"], "odd.kist"),
            (kist.NodeNotFoundError, "there is no '/nothing'", ["nothing"], "odd.kist"),
            (kist.LinkError, "which is not there", ["g/trades"], "missing.kist"),
            (kist.LinkError, r"no file in .* matches 'none-\*'", ["g/trades"], "none-*"),
            (kist.SelectionError, "of at least one file", ["g/trades"], []),
            (kist.SelectionError, "of one path", ["a", "b"], "odd.kist"),
            (kist.SelectionError, "paths of datasets", [], "odd.kist"),
            (kist.SelectionError, "paths of datasets", [], None),
            (kist.NodeNotFoundError, "no dataset matches", ["none/*"], None),
        ):  # fmt: skip
            with pytest.raises(error, match=match):
                store.create_union("bad", *paths, files=files)
        assert list(store) == ["all"]
        with pytest.raises(kist.ReadOnlyError):
            store["all"].append(rows_of(1))
        with pytest.raises(kist.LinkError, match="paths do not descend into it"):
            store["all/t"]
        with pytest.raises(kist.LinkError, match="made of others"):
            store.union("all")


def test_a_handle_is_pickled_by_its_link(table: kist.LinkedTable) -> None:
    again = pickle.loads(pickle.dumps(table))
    assert len(again) == len(table) and again.n_open == 0
    assert table.is_same(table.store["all"]) and not table.is_same(again)


def test_everything_is_closed_with_the_store(made: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with kist.open(made / "all.kist") as store:
        table = store["all"]
        table["t"].sum()
        assert len(os.listdir("/proc/self/fd")) > before + N_PARTS
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(kist.StoreClosedError):
        len(table)


def test_lists_that_do_not_fit_are_damage(folder: Path) -> None:
    with kist.open(folder / "all.kist", "r+") as store:
        link = store.open_link("all")
        said = dict(link._record().said)
        for name, wrong in (
            ("files", said["files"][:-1]),
            ("files", [7] * N_PARTS),
            ("stamps", said["stamps"][:-1]),
            ("groups", said["groups"] + np.uint32(1)),
            ("groups", said["groups"].astype("f8")),
            ("rows", said["rows"][:-1]),
            ("rows", said["rows"] * np.uint32(2)),
            ("live", said["rows"] + np.uint32(1)),
            ("commits", said["commits"].reshape(2, 3)),
            ("statistics", {0: b"x"}),
            ("statistics", {77: b""}),
            ("added", None),
            ("schema", b"x"),
        ):
            with store._write() as txn:
                txn.delete(keys.link(link._id))
                put_link(txn, link._id, LinkRecord(LinkForm.PARTS, {**said, name: wrong}))
            with pytest.raises(CorruptDataError):
                len(store["all"])
            assert [problem.where for problem in store.check().problems] == ["link"], name
        # Sums hold, and the table has other groups than the link says.
        rows = said["rows"].copy()
        rows[0] -= 7
        live = np.minimum(rows, said["live"])
        with store._write() as txn:
            txn.delete(keys.link(link._id))
            put_link(
                txn, link._id, LinkRecord(LinkForm.PARTS, {**said, "rows": rows, "live": live})
            )
        with pytest.raises(kist.LinkError, match="has changed"):
            store["all"][0]


def test_unions_of_one_store_are_looked_up_anew(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        for day in (1, 2):
            store[f"g/day/{day}"] = np.array([(day, 2.5)], "i4,f8")
            store[f"a/{day}"] = np.full((2, 3), day)
        link = store.create_union("g/all", "day/*", title="Days")
        store.create_union("arrays", "a/*")
        assert link.leads_to == "union of day/*" and link.target == "day/*"
        assert len(store["g/all"]) == 2 and store["arrays"].shape == (4, 3)
        store["g/day/3"] = np.array([(3, 2.5)], "i4,f8")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["g/all"].where("f0 > 1")["f0"][:].tolist() == [2, 3]
        assert store["arrays"][:, 0].tolist() == [1, 1, 2, 2]
    with kist.open(tmp_path / "a.kist", "r+") as store:
        del store["g/day"]
        with pytest.raises(kist.NodeNotFoundError):
            store["g/all"]
        assert "(dangling)" not in repr(store.open_link("arrays"))


def test_nullable_and_added_columns_are_ruled_out_rightly(tmp_path: Path) -> None:
    for job in (1, 2, 3):
        with kist.open(tmp_path / f"p{job}.kist", "w") as store:
            dtype = {"t": "i8", "n": kist.nullable("i4")}
            table = store.create_table("t", dtype=dtype)
            table.append({"t": np.arange(5000), "n": np.full(5000, 10 * job)})
            table.add_column("late", "i4", fill_value=job)
            table.append({"t": [9], "n": [None], "late": [7]})
    with kist.open(tmp_path / "all.kist", "w") as store:
        store.create_union("t", "t", files="p*.kist")
        for condition in ("n == 20", "n > 25", "late == 2", "late == 7", "isnull(n)", "t == 9"):
            with kist.union(str(tmp_path / "p*.kist"), "t") as whole:
                assert (
                    store["t"].where(condition).indices().tolist()
                    == whole.where(condition).indices().tolist()
                ), condition
    with kist.open(tmp_path / "all.kist") as store:
        assert store["t"].where("late == 2").count() == 5000 and store["t"].n_open <= 3


def test_a_link_whose_record_is_another_form_is_damage(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/1"] = [1]
        link = store.create_union("u", "g/*")
        with store._write() as txn:
            record = LinkRecord(LinkForm.PATH, {"paths": ["g/*"]})
            txn.put(keys.link(link._id), pack_record(record.pack()))
        with pytest.raises(CorruptDataError, match="lacks 'path'"):
            store["u"]


def test_parts_that_were_linked_anew_let_go_of_the_commits_before(folder: Path) -> None:
    part = folder / "parts" / "1.kist"
    with kist.open(folder / "all.kist", "r+") as store:
        for _ in range(3):
            with kist.open(part, "r+") as other:
                other["g/trades"].append(rows_of(1)[:1])
            store.open_link("all").renew()
            assert store["all"].where("t == 100050").count() == 1
        gc.collect()
        with kist.open(part) as other:
            assert len(other.info["pins"]) == 1  # one commit: of the parts of now, and of `other`


def test_a_file_that_is_named_twice_is_there_once(folder: Path) -> None:
    (folder / "again.kist").symlink_to(folder / "parts" / "1.kist")
    names = ["parts/1.kist", "./parts/[13].kist", folder / "parts" / "1.kist", "again.kist"]
    with kist.open(folder / "all.kist", "r+") as store:
        store.create_union("some", "g/trades", files=names)
        assert store["some"].files == ["parts/1.kist", "./parts/3.kist"]
        assert len(store["some"]) == 2 * 95


def test_changing_a_linked_table_says_where_it_is_changed(table: kist.LinkedTable) -> None:
    row = tuple(table[0])
    for change in (
        lambda: table.append([row]),
        lambda: table.where("t < 100").delete(),
        lambda: table["t"].__setitem__(0, 1),
        lambda: table.add_column("new", "i4", fill_value=1),
    ):
        with pytest.raises(kist.ReadOnlyError, match=r"'/all' cannot be changed: .* renew\(\)"):
            change()


def test_a_version_is_shown_whatever_its_files_show_now(folder: Path) -> None:
    for part in (folder / "parts").iterdir():
        with kist.open(part, "r+") as store:
            store.tag("first")
    with kist.open(folder / "all.kist", "r+") as store:
        link = store.create_union("then", "g/trades", files="parts/*.kist", version="first")
        assert link.version == "first" and link.leads_to == "g/trades of 6 files at 'first'"
    for n in range(3):
        with kist.open(folder / "parts" / "3.kist", "r+") as store:
            store["g/trades"].update({"x": float(n)})
            store["g/trades"].append(rows_of(3))
            store.compact()
    with kist.open(folder / "all.kist", "r+") as store:
        expected = rows_of(3)["x"][50]
        for _ in range(2):
            assert store["then"].where("t == 300050")["x"][:].tolist() == [expected]
            store.open_link("then").renew()
        with kist.open(folder / "parts" / "3.kist", "r+") as part:
            part.untag("first")
    with kist.open(folder / "all.kist") as store:
        with pytest.raises(kist.LinkError, match="first"):
            store["then"].where("t == 300050").count()
        assert store["then"].where("t == 400050").count() == 1


@pytest.mark.parametrize("paths", [("parts/*.kist", "g/trades"), ("parts/1.kist",)])
def test_files_given_as_paths_are_told_where_they_go(paths: tuple[str, ...]) -> None:
    told = rf"files={paths[0]!r}, and one path".replace("*", r"\*")
    with kist.open(":memory:") as store:
        with pytest.raises(kist.NodeNotFoundError, match=told):
            store.create_union("all", *paths)
        assert "all" not in store
