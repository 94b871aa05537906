"""ERA-Interim wind and geopotential: packed big-endian int16 on four axes, with its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import kist

Array = np.ndarray[Any, Any]

TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8"}


class Variable(NamedTuple):
    """One variable of a NetCDF 3 file."""

    values: Array
    attrs: dict[str, Any]


class _Header:
    """Reads the header of a NetCDF 3 file with 64-bit offsets and without record variables."""

    def __init__(self, data: bytes) -> None:
        assert data[:4] == b"CDF\x02"
        self.data, self.at = data, 8

    def number(self, size: int = 4) -> int:
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def text(self) -> str:
        n = self.number()
        self.at += n + -n % 4
        return self.data[self.at - n - -n % 4 :][:n].decode()

    def list_of(self, read: Any) -> list[Any]:
        self.number()  # a tag, or zero for no list
        return [read() for _ in range(self.number())]

    def attribute(self) -> tuple[str, Any]:
        name, kind, n = self.text(), self.number(), self.number()
        raw = self.data[self.at :][: n * np.dtype(TYPES[kind]).itemsize]
        self.at += len(raw) + -len(raw) % 4
        values = np.frombuffer(raw, TYPES[kind])
        return name, raw.decode() if kind == 2 else values[0]


def read_netcdf3(path: Path) -> dict[str, Variable]:
    """Return the variables of a file, still packed."""
    header = _Header(path.read_bytes())
    lengths = [n for _, n in header.list_of(lambda: (header.text(), header.number()))]
    header.list_of(header.attribute)

    def variable() -> tuple[str, Variable]:
        name = header.text()
        shape = [lengths[header.number()] for _ in range(header.number())]
        attrs = dict(header.list_of(header.attribute))
        dtype = np.dtype(TYPES[header.number()])
        header.number()
        start = header.number(8)
        n = int(np.prod(shape))
        return name, Variable(np.frombuffer(header.data, dtype, n, start).reshape(shape), attrs)

    return dict(header.list_of(variable))


@pytest.fixture(scope="module")
def source() -> dict[str, Variable]:
    """What the file holds."""
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "eraint_uvz.nc"
    if not path.exists():
        pytest.skip("no ../shared/data beside the project")
    return read_netcdf3(path)


@pytest.fixture(scope="module")
def stored(source: dict[str, Variable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file filled in one transaction, months appended one by one."""
    path = tmp_path_factory.mktemp("era") / "era.kist"
    with kist.open(path, "x") as store, store.transaction("ERA-Interim"):
        for name, (values, attrs) in source.items():
            if values.ndim < 4:
                array = store.create_array(f"grid/{name}", values)
            else:
                shape = (0, *values.shape[1:])
                array = store.create_array(f"fields/{name}", shape=shape, dtype=values.dtype)
                for month in values:
                    array.append(month[None])
            array.attrs.update(attrs)
    return path


@pytest.fixture
def store(stored: Path) -> Iterator[kist.Store]:
    """The open file."""
    with kist.open(stored, "r+") as store:
        yield store


def test_every_value_comes_back_with_its_byte_order(
    store: kist.Store, source: dict[str, Variable]
) -> None:
    assert sorted(store["fields"]) == ["u", "v", "z"]
    for name in store["fields"]:
        array, values = store["fields"][name], source[name].values
        assert (array.dtype, array.shape) == (np.dtype(">i2"), (2, 3, 241, 480))
        assert array[...].tobytes() == values.tobytes()
    assert store["grid/latitude"].dtype == np.dtype(">f4")
    assert store.check().ok


def test_attributes_keep_their_types(store: kist.Store, source: dict[str, Variable]) -> None:
    z = store["fields/z"]
    assert z.attrs["long_name"] == "Geopotential"
    assert type(z.attrs["scale_factor"]) is type(source["z"].attrs["scale_factor"])
    assert dict(z.attrs).keys() == source["z"].attrs.keys()


def test_a_map_and_a_profile_are_read_alone(store: kist.Store, source: dict[str, Variable]) -> None:
    u, values = store["fields/u"], source["u"].values
    assert (u[1, 2] == values[1, 2]).all()
    assert (u[:, :, 100, 200] == values[:, :, 100, 200]).all()
    north = store["grid/latitude"][:] > 60
    assert (u[0, 0][north] == values[0, 0][north]).all()
    assert (u[0, :, north, ::40] == values[0, :, north, ::40]).all()
    speed = u[0, 0] * u.attrs["scale_factor"] + u.attrs["add_offset"]
    assert 10 < np.abs(speed).max() < 100  # metres per second


def test_changes_and_their_rollback(store: kist.Store, source: dict[str, Variable]) -> None:
    v = store["fields/v"]
    before = v[...]

    def change() -> None:
        with store.transaction():
            v[0, :, :10] = 0
            v.resize((2, 2, 241, 480))
            store["fields/u"].append(source["u"].values)
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert (v[...] == before).all()
    assert len(store["fields/u"]) == 2
