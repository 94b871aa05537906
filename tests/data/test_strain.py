"""LIGO strain around GW150914: 32 s of samples as a table, with what HDF5 said about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

Array = np.ndarray[Any, Any]

RATE = 4096
DTYPE = np.dtype([("offset", "f8"), ("strain", "f8"), ("quality", "u4"), ("injection", "u4")])


@pytest.fixture(scope="module")
def source() -> Iterator[Any]:
    """The HDF5 file."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "H-H1_LOSC_4_V2-1126259446-32.hdf5") as file:
        yield file


@pytest.fixture(scope="module")
def samples(source: Any) -> Array:
    """A row a sample: seconds since the start, strain, and the masks of its second."""
    strain = source["strain/Strain"]
    rows = np.empty(len(strain), DTYPE)
    rows["offset"] = np.arange(len(strain)) * strain.attrs["Xspacing"]
    rows["strain"] = strain[:]
    rows["quality"] = np.repeat(source["quality/simple/DQmask"][:], RATE)
    rows["injection"] = np.repeat(source["quality/injections/Injmask"][:], RATE)
    assert len(rows) == 32 * RATE
    return rows


@pytest.fixture(scope="module")
def store(
    source: Any, samples: Array, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kist.Store]:
    """A store filled as by an instrument: a second at a time, two by two in one commit."""
    path = tmp_path_factory.mktemp("strain") / "strain.kist"
    with kist.open(path, "x", durability="relaxed") as store:
        for name, value in source["meta"].items():
            value = value[()]
            store.require_group("meta").attrs[name] = (
                value.decode() if isinstance(value, bytes) else value
            )
        table = store.create_table("strain/H1", dtype=DTYPE)
        table["strain"].attrs.update(source["strain/Strain"].attrs)
        for second in range(0, 32, 2):
            with store.transaction(f"seconds {second} and {second + 1}"):
                for start in (second, second + 1):
                    table.append(samples[start * RATE : (start + 1) * RATE])
        # The names of the bits are a table too.
        names = source["quality/simple/DQShortnames"][:]
        bits = np.zeros(len(names), [("bit", "u1"), ("name", names.dtype), ("text", "S22")])
        bits["bit"], bits["name"] = np.arange(len(names)), names
        bits["text"] = source["quality/simple/DQDescriptions"][:]
        store["quality/bits"] = bits
    with kist.open(path) as store:
        yield store


def test_every_bit_of_the_strain_is_kept(store: kist.Store, samples: Array) -> None:
    table = store["strain/H1"]
    assert len(table) == 131_072
    assert table[:].tobytes() == samples.tobytes()
    assert table["strain"][:].dtype == np.dtype("f8")
    assert store.check().ok


def test_what_hdf5_said_about_it_is_kept_with_its_types(store: kist.Store, source: Any) -> None:
    attrs = store["strain/H1"]["strain"].attrs
    for name, value in source["strain/Strain"].attrs.items():
        assert attrs[name] == value
        assert type(attrs[name]) is type(value)
    meta = store["meta"].attrs
    assert meta["Detector"] == "H1"
    assert meta["GPSstart"] == 1126259446
    assert type(meta["GPSstart"]) is np.int64
    assert store["quality/bits"][0].item() == (0, b"DATA", b"data present")


def test_constant_and_regular_columns_cost_next_to_nothing(store: kist.Store) -> None:
    table = store["strain/H1"]
    for name in ("offset", "quality", "injection"):
        assert table[name].nbytes_stored < 0.02 * table[name].nbytes, table[name].info
    # Noise of 64 bits does not shrink much, and grows by no more than the heads of pages.
    assert table["strain"].nbytes_stored <= 1.005 * table["strain"].nbytes


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (15.9, 16.6), (31.99, 99.0), (5.0, 5.0)])
def test_a_range_of_time_is_found_by_a_condition(
    store: kist.Store, samples: Array, start: float, stop: float
) -> None:
    table = store["strain/H1"]
    mask = (samples["offset"] >= start) & (samples["offset"] < stop)
    hits = table.where("(offset >= start) & (offset < stop)", start=start, stop=stop)
    assert hits.count() == mask.sum()
    np.testing.assert_array_equal(hits["strain"][:], samples["strain"][mask])
    if mask.any():
        assert hits["strain"].max() == samples["strain"][mask].max()


def test_a_range_of_rows_is_one_field_or_all(store: kist.Store, samples: Array) -> None:
    table = store["strain/H1"]
    event = slice(int(16.3 * RATE), int(16.5 * RATE))
    np.testing.assert_array_equal(table["strain"][event], samples["strain"][event])
    assert table[event].tobytes() == samples[event].tobytes()
    np.testing.assert_array_equal(table["strain"][::RATE], samples["strain"][::RATE])


def test_peaks_and_masks_give_numpys_answer(store: kist.Store, samples: Array) -> None:
    table = store["strain/H1"]
    limit = float(np.quantile(np.abs(samples["strain"]), 0.999))
    mask = np.abs(samples["strain"]) > limit
    hits = table.where("abs(strain) > limit", limit=limit)
    np.testing.assert_array_equal(hits.indices(), np.flatnonzero(mask))
    assert table.where("(quality & 1) == 1").count() == len(samples)
    assert table.where("injection != 31").count() == 0
    assert table["strain"].mean() == pytest.approx(samples["strain"].mean(), rel=1e-6)


def test_samples_that_come_later_are_followed_by_a_reader(path: Path, samples: Array) -> None:
    half = len(samples) // 2
    with kist.open(path, "x", durability="relaxed") as store:
        table = store.create_table("H1", samples[:half])
        with kist.open(path) as reader:
            followed = reader["H1"]
            seen = [len(followed)]
            with table.appender(rows=RATE) as add:
                for start in range(half, len(samples), 1000):
                    add(samples[start : start + 1000])
                    reader.refresh()
                    seen.append(len(followed))
            reader.refresh()
            assert followed[:].tobytes() == samples.tobytes()
        assert seen == sorted(seen)
        assert len(set(seen)) > 8, "it came bit by bit"
        table["quality"][:RATE] = 0
        assert table.where("quality == 0").count() == RATE
        store.tag("flagged")
        table.delete(slice(0, RATE))
    with kist.open(path, version="flagged") as old:
        assert len(old["H1"]) == len(samples)
        np.testing.assert_array_equal(old["H1"]["strain"][:], samples["strain"])
