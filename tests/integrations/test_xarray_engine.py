"""The engine ``kist`` of xarray: lazy reading, writing, appending, and what is refused."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError, DTypeError, KistError, NodeExistsError, ShapeError

xr: Any = pytest.importorskip("xarray")
pd: Any = pytest.importorskip("pandas")

from kist.integrations.xarray import KistBackend  # noqa: E402 - needs xarray

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "eraint_uvz.nc"


def weather(start: str = "2026-01-01", n: int = 4) -> Any:
    rng = np.random.default_rng(n)
    return xr.Dataset(
        {
            "t": (("time", "x"), rng.random((n, 3)).astype("f4"), {"units": "K"}),
            "packed": (("time",), np.arange(n) / 2),
            "rain": ("time", np.arange(n) % 2 == 0),
            "height": ((), 3.5),
        },
        {
            "time": pd.date_range(start, periods=n),
            "x": [10, 20, 30],
            "label": ("x", ["p", "qq", "r"]),
        },
        {"title": "weather"},
    )


def opened(path: Any, **options: Any) -> Any:
    return xr.open_dataset(path, engine=KistBackend, **options)


def test_the_entry_point_leads_to_the_engine() -> None:
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    named = tomllib.loads(text)["project"]["entry-points"]["xarray.backends"]["kist"]
    assert named == f"{KistBackend.__module__}:{KistBackend.__name__}"


@pytest.mark.parametrize("group", [None, "deep/inside"])
def test_a_dataset_comes_back_as_it_was(tmp_path: Path, group: str | None) -> None:
    ds = weather()
    coding = {"packed": {"scale_factor": 0.5, "dtype": "i2", "_FillValue": -1}}
    ds.kist.to_kist(tmp_path / "a.kist", group=group, encoding=coding)
    with opened(tmp_path / "a.kist", group=group) as back:
        xr.testing.assert_identical(back.load(), ds)
        assert back["packed"].encoding["dtype"] == "i2"
    with kist.open(tmp_path / "a.kist") as store:
        node = store[group] if group else store
        assert node["t"].attrs["_DIMS"] == ["time", "x"] and node["packed"].dtype == "i2"
        assert node.attrs["_DIMS"] == {"time": 4, "x": 3}


def test_only_what_is_indexed_is_read(tmp_path: Path) -> None:
    values = np.arange(60.0).reshape(6, 10)
    xr.Dataset({"v": (("a", "b"), values)}).kist.to_kist(
        tmp_path / "a.kist", encoding={"v": {"chunks": (2, 5)}}
    )
    with opened(tmp_path / "a.kist") as ds:
        assert not ds["v"].variable._in_memory
        for key in [(2, 3), (slice(4, None), 1), (slice(None, None, -2), slice(7, 2, -1)),
                    (np.array([3, 0, 3]), slice(1, 9, 3)), (slice(3, 3), 0)]:  # fmt: skip
            np.testing.assert_array_equal(ds["v"][key].values, values[key])
        points = xr.DataArray([1, 5, 2], dims="p")
        np.testing.assert_array_equal(ds["v"][points, points].values, values[[1, 5, 2], [1, 5, 2]])
        assert not ds["v"].variable._in_memory
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds))["v"].values, values)


def test_chunks_of_dask_are_those_of_the_file(tmp_path: Path) -> None:
    pytest.importorskip("dask.array")
    values = np.arange(60.0).reshape(6, 10)
    ds = xr.Dataset({"v": (("a", "b"), values)}).chunk({"a": 4, "b": 3})
    ds.kist.to_kist(tmp_path / "a.kist", encoding={"v": {"chunks": (2, 5)}})
    with opened(tmp_path / "a.kist", chunks={}) as back:
        assert back["v"].chunks == ((2, 2, 2), (5, 5))
        assert float(back["v"].sum()) == values.sum()
        np.testing.assert_array_equal(back["v"].values, values)


def test_appending_keeps_units_and_scales(tmp_path: Path) -> None:
    first, second = weather(), weather("2026-01-05", 3)
    coding = {"packed": {"scale_factor": 0.5, "dtype": "i2", "_FillValue": -1}}
    first.kist.to_kist(tmp_path / "a.kist", encoding=coding)
    second.kist.to_kist(tmp_path / "a.kist", append_dim="time")
    with opened(tmp_path / "a.kist") as back:
        both = xr.concat([first, second], "time", data_vars="minimal", coords="minimal")
        xr.testing.assert_identical(back.load(), both)
        assert back.encoding["unlimited_dims"] == {"time"}


@pytest.mark.filterwarnings("ignore:Times can't be serialized")
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    weather().kist.to_kist(path)
    more = weather("2026-01-05")
    wrong: list[tuple[Any, Any, str]] = [
        (more.isel(x=slice(2)), KistError, "x"),
        (more.assign_coords(x=[1, 2, 3]), ConversionError, "other values"),
        (more.drop_vars("packed"), ConversionError, "nothing to append"),
        (more.transpose("x", "time"), ShapeError, "dimensions"),
        (weather("2026-01-05T00:00:00.000000001"), ConversionError, "units"),
    ]
    for ds, error, match in wrong:
        with pytest.raises(error, match=match):
            ds.kist.to_kist(path, append_dim="time")
    with pytest.raises(NodeExistsError):
        weather().kist.to_kist(path)
    with pytest.raises(ConversionError, match="no dimension"):
        more.kist.to_kist(path, append_dim="nope")
    with opened(path) as back:
        xr.testing.assert_identical(back.load(), weather())
    more.kist.to_kist(path, overwrite=True)
    with opened(path) as back:
        xr.testing.assert_identical(back.load(), more)
    bad = xr.Dataset({"o": ("x", np.array([{}, []], object))})
    with pytest.raises((KistError, TypeError, ValueError)):
        bad.kist.to_kist(tmp_path / "new.kist")
    assert not (tmp_path / "new.kist").exists()


def test_tables_groups_and_plain_arrays_open(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.array([(1, 2.5), (3, 4.5)], "i4,f8")
        store["g/x"] = np.eye(3)
    with opened(tmp_path / "a.kist", group="t") as ds:
        assert ds["f1"].dims == ("row",) and ds["f1"].values.tolist() == [2.5, 4.5]
    with opened(tmp_path / "a.kist", group="g") as ds:
        assert ds["x"].dims == ("x_0", "x_1")
    with xr.open_datatree(tmp_path / "a.kist", engine=KistBackend) as tree:
        np.testing.assert_array_equal(tree["g/x"].values, np.eye(3))
    with pytest.raises(KeyError):
        opened(tmp_path / "a.kist", group="none")
    with pytest.raises(KistError, match="no group"):
        opened(tmp_path / "a.kist", group="g/x")


def test_an_older_version_opens(tmp_path: Path) -> None:
    weather().kist.to_kist(tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist", "a") as store:
        store.tag("before")
    weather("2026-01-05").kist.to_kist(tmp_path / "a.kist", append_dim="time")
    with opened(tmp_path / "a.kist", version="before") as back:
        assert back.sizes["time"] == 4


@pytest.mark.filterwarnings("ignore:variable")
@pytest.mark.skipif(not REAL.exists(), reason="the real files are not here")
def test_a_real_netcdf_file_reads_alike_through_a_store(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    kist.convert(REAL, tmp_path / "a.kist")
    with opened(tmp_path / "a.kist") as ds, xr.open_dataset(REAL, engine="netcdf4") as there:
        xr.testing.assert_identical(ds.load(), there.load())


def grown_tree(days: slice) -> Any:
    time = pd.date_range("2026-01-01", periods=6)[days]
    values = np.arange(12.0).reshape(6, 2)[days]
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(coords={"time": time, "place": ["a", "b"]}, attrs={"k": 1}),
            "/oslo": xr.Dataset({"t": ("time", np.arange(6.0)[days])}),
            "/oslo/deep": xr.Dataset({"q": (("time", "place"), values)}),
            "/fixed": xr.Dataset({"c": ("z", [1, 2])}),
        }
    )


def test_a_tree_is_written_and_appended_to_in_one_transaction_each(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    grown_tree(slice(0, 4)).kist.to_kist(path)
    grown_tree(slice(4, 6)).kist.to_kist(path, append_dim="time")
    whole = grown_tree(slice(None))
    with xr.open_datatree(path, engine=KistBackend) as back:
        xr.testing.assert_identical(back.load(), whole)
    with kist.open(path) as store:
        assert len(store.history()) == 2
        assert "time" in store and "time" not in store["oslo"], "inherited, so written once"
    other = grown_tree(slice(0, 2))
    other["fixed"]["c"][:] = 9
    with pytest.raises(ConversionError, match="/fixed/c"):
        other.kist.to_kist(path, append_dim="time")
    with xr.open_datatree(path, engine=KistBackend) as back:
        xr.testing.assert_identical(back.load(), whole)


def test_part_of_a_tree_goes_into_a_group_with_what_it_inherits(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    part = grown_tree(slice(None))["oslo"]
    part.kist.to_kist(path, group="/x/y/", encoding={"/deep": {"q": {"chunks": (2, 2)}}})
    with xr.open_datatree(path, engine=KistBackend, group="x/y") as back:
        xr.testing.assert_identical(back["deep"].to_dataset().load(), part["deep"].to_dataset())
    with kist.open(path) as store:
        assert store["x/y/deep/q"].chunks == (2, 2)
    with pytest.raises(ConversionError, match="no group '/x/y/no'"):
        part.kist.to_kist(path, group="x/y", encoding={"no": {}})


def test_what_cannot_be_stored_is_named_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    with pytest.raises(ConversionError, match="no variable 'tt', but 't', 'packed'"):
        weather().kist.to_kist(path, encoding={"tt": {}})
    words = xr.Dataset({"c": ("x", pd.Categorical(["a", "b"]))})
    with pytest.raises(DTypeError, match="'c' holds CategoricalDtype"):
        words.kist.to_kist(path)
    assert not path.exists()
