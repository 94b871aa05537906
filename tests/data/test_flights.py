"""200,000 US flights: stored, appended to in parts, read by field and range, queried."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

Array = np.ndarray[Any, Any]

DTYPE = np.dtype([("delay", "i2"), ("distance", "i2"), ("time", "f4")])


@pytest.fixture(scope="module")
def arrow() -> Any:
    """The file as an Arrow table."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.memory_map(str(folder / "flights-200k.arrow")) as source:
        return pyarrow.ipc.open_file(source).read_all()


@pytest.fixture(scope="module")
def flights(arrow: Any) -> Array:
    """The same as a structured array."""
    rows = np.empty(arrow.num_rows, DTYPE)
    for name in DTYPE.names or ():
        rows[name] = arrow[name].to_numpy()
    assert len(rows) == 200_000
    return rows


@pytest.fixture(scope="module")
def store(flights: Array, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kist.Store]:
    """A store into which the flights came in parts of very different sizes."""
    path = tmp_path_factory.mktemp("flights") / "flights.kist"
    with kist.open(path, "x", durability="relaxed") as store:
        table = store.create_table("flights", flights[:100_000], title="US flights")
        at = 100_000
        for size in [1, 10, 10, 10, 500, 5000, 7, 60_000, 10, 10, 20_000]:
            table.append(flights[at : at + size])
            at += size
        with table.appender(rows=3000) as add:
            for row in flights[at : at + 4000]:
                add(row)
        table.append(flights[at + 4000 :])
    with kist.open(path) as store:
        yield store


def test_what_was_appended_in_parts_is_what_was_there(store: kist.Store, flights: Array) -> None:
    table = store["flights"]
    assert len(table) == len(flights)
    assert table.dtype == DTYPE
    assert table[:].tobytes() == flights.tobytes()
    assert table.title == "US flights"
    assert store.check().ok


def test_it_takes_less_room_than_the_file_that_it_came_from(
    store: kist.Store, flights: Array
) -> None:
    assert store["flights"].nbytes_stored < 0.8 * flights.nbytes
    assert store["flights"].ratio > 1.25


@pytest.mark.parametrize(
    "index",
    [
        slice(0, 10),
        slice(-1000, None),
        slice(65_530, 65_550),
        slice(99_990, 100_600),
        slice(None, None, 997),
        slice(150_000, 20, -3331),
        [3, 199_999, 100_000, 3, 0],
        7,
        -1,
    ],
    ids=str,
)
def test_rows_and_fields_of_any_range(store: kist.Store, flights: Array, index: Any) -> None:
    table = store["flights"]
    assert table[index].tobytes() == flights[index].tobytes()
    for name in DTYPE.names or ():
        np.testing.assert_array_equal(table[name][index], flights[name][index])
    some = table[["time", "delay"]][index]
    np.testing.assert_array_equal(some["delay"], flights["delay"][index])
    assert some.dtype.names == ("time", "delay")


def test_a_mask_selects_as_in_numpy(store: kist.Store, flights: Array) -> None:
    late = flights["delay"] > 120
    assert store["flights"][late].tobytes() == flights[late].tobytes()


CONDITIONS: dict[str, Any] = {
    "delay > 180": lambda f: f["delay"] > 180,
    "(delay < -20) & (distance >= 2000)": lambda f: (f["delay"] < -20) & (f["distance"] >= 2000),
    "(time >= 23.5) | (time < 0.25)": lambda f: (f["time"] >= 23.5) | (f["time"] < 0.25),
    "~(delay <= 90) & (distance != 337)": lambda f: ~(f["delay"] <= 90) & (f["distance"] != 337),
    "delay * 10 > distance": lambda f: f["delay"].astype("i8") * 10 > f["distance"],
    "delay > 30000": lambda f: f["delay"] > 30_000,
    "distance > 0": lambda f: f["distance"] > 0,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_give_numpys_answer(store: kist.Store, flights: Array, text: str) -> None:
    mask = CONDITIONS[text](flights)
    hits = store["flights"].where(text)
    assert hits.count() == mask.sum()
    np.testing.assert_array_equal(hits.indices(), np.flatnonzero(mask))
    assert hits[:].tobytes() == flights[mask].tobytes()
    np.testing.assert_array_equal(hits["distance"][:], flights["distance"][mask])
    assert hits["distance"].sum() == flights["distance"][mask].sum()
    if mask.any():
        assert hits["delay"].max() == flights["delay"][mask].max()
        np.testing.assert_allclose(hits["time"].mean(), flights["time"][mask].mean(dtype="f8"))


def test_parameters_and_operators_build_the_same_selection(
    store: kist.Store, flights: Array
) -> None:
    table = store["flights"]
    mask = (flights["delay"] > 100) & (flights["time"] < 6)
    assert table.where("(delay > d) & (time < t)", d=100, t=6).count() == mask.sum()
    assert table[(table["delay"] > 100) & (table["time"] < 6)].count() == mask.sum()


def test_columns_add_up(store: kist.Store, flights: Array) -> None:
    table = store["flights"]
    assert table["delay"].sum() == flights["delay"].sum()
    assert table["distance"].max() == flights["distance"].max()
    assert table["delay"].mean() == pytest.approx(flights["delay"].mean())
    assert sum(len(block) for block in table.blocks(30_000)) == len(flights)


def test_changes_are_those_that_numpy_would_make(path: Path, flights: Array) -> None:
    rows = flights.copy()
    with kist.open(path, "x", durability="relaxed") as store:
        store["flights"] = rows
        table = store["flights"]
        early = rows["delay"] < -30
        assert table.where("delay < -30").update({"delay": -30}) == early.sum()
        rows["delay"][early] = -30
        table["distance"][1000:70_000:7] = 1
        rows["distance"][1000:70_000:7] = 1
        short = rows["distance"] < 100
        assert table.where("distance < 100").delete() == short.sum()
        rows = rows[~short]
        table.append(rows[:25])
        rows = np.concatenate([rows, rows[:25]])
        assert table[:].tobytes() == rows.tobytes()
        assert store.check().ok
    with kist.open(path) as store:
        assert store["flights"][:].tobytes() == rows.tobytes()


def test_an_arrow_table_becomes_a_table_and_appends_by_name(
    path: Path, arrow: Any, flights: Array
) -> None:
    with kist.open(path, "x", durability="relaxed") as store:
        store["flights"] = arrow
        table = store["flights"]
        assert table[:].tobytes() == flights.tobytes()
        table.append(arrow.slice(0, 5000).select(["time", "delay", "distance"]))
        assert table[-5000:].tobytes() == flights[:5000].tobytes()


def test_the_data_are_here_or_skipped(shared_data: Path) -> None:
    assert (shared_data / "flights-200k.arrow").stat().st_size > 10**6
    assert sys.byteorder == "little"
