"""The frame around all bridges: which side is which, all or nothing, options, reports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.bridges.base import parts_of, read_ahead
from kist.bridges.formats import FORMATS, bridge_of, format_by_content, format_by_name
from kist.bridges.plain import from_json, to_json
from kist.cli import main
from kist.errors import ConversionError, StoreExistsError, StoreNotFoundError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "bridges.md"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with one array and one table."""
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(10)
        store["g/t"] = np.zeros(5, "i4,f8")
        store.attrs["a"] = 1
    return str(tmp_path / "a.kist")


def test_a_store_is_copied_into_a_store(store: str, tmp_path: Path) -> None:
    assert kist.convert(store, tmp_path / "b.kist").n_tables == 1
    kist.convert(f"{store}:g/t", f"{tmp_path / 'b.kist'}:other/t")
    with kist.open(tmp_path / "b.kist") as back:
        assert back["x"][:].tolist() == list(range(10)) and back.attrs["a"] == 1
        assert len(back["other/t"]) == 5


def test_an_older_version_is_read(store: str, tmp_path: Path) -> None:
    with kist.open(store, "a") as s:
        s.tag("before")
        s["x"][0] = 77
    kist.convert(f"{store}:x", tmp_path / "x.npy", version="before")
    assert np.load(tmp_path / "x.npy")[0] == 0


def test_places_and_formats_that_cannot_be_raise(store: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", [1])
    with pytest.raises(ConversionError, match="one side is a store"):
        kist.convert(tmp_path / "x.npy", tmp_path / "y.h5")
    with pytest.raises(StoreNotFoundError):
        kist.convert(tmp_path / "none.npy", tmp_path / "b.kist")
    with pytest.raises(KeyError):
        kist.convert(f"{store}:none", tmp_path / "b.npy")
    with pytest.raises(ConversionError, match="no known format"):
        kist.convert(store, tmp_path / "b.xyz")
    with pytest.raises(ConversionError, match="none of hdf5"):
        kist.convert(store, tmp_path / "b.xyz", format="xyz")
    with pytest.raises(ConversionError, match="one array or table"):
        kist.convert(store, tmp_path / "b.npy")
    with pytest.raises(TypeError, match="no option wrong"):
        kist.convert(f"{store}:x", tmp_path / "b.npy", wrong=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist", "x.npy"]


def test_content_decides_before_the_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", [1, 2])
    (tmp_path / "x.npy").rename(tmp_path / "x.csv")
    assert kist.convert(tmp_path / "x.csv", tmp_path / "a.kist").format == "npy"
    assert format_by_content(str(tmp_path / "a.kist")) is None
    assert format_by_name("A.CSV.GZ") == "csv" and format_by_name("x") is None


def test_a_source_that_changes_while_it_is_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", [1, 2])
    found = type(bridge_of("npy"))
    before = found.read

    def read(self: Any, job: Any, source: str) -> None:
        before(self, job, source)
        np.save(source, np.arange(1000))

    monkeypatch.setattr(found, "read", read)
    with pytest.raises(ConversionError, match="was changed"):
        kist.convert(tmp_path / "x.npy", tmp_path / "a.kist")
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_progress_counts_bytes(store: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    np.save(tmp_path / "x.npy", np.zeros(5_000_000))
    kist.convert(tmp_path / "x.npy", tmp_path / "b.kist", progress=lambda *n: told.append(n))
    assert len(told) > 2 and told == sorted(told) and told[-1] == (40_000_000, 40_000_128)


def test_a_missing_library_names_the_extra(store: str, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['h5py'] = None\nimport kist\n"
        f"try: kist.convert({store!r}, {str(tmp_path / 'x.h5')!r})\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kist[hdf5]'" in done.stdout


def test_parts_cover_every_element_once_and_stay_small() -> None:
    for shape, chunks, width in [
        ((), (), 8), ((10,), (3,), 8), ((7, 5), (2, 5), 8), ((4, 9, 11), (3, 2, 4), 1),
        ((0, 3), (1, 1), 8),
    ]:  # fmt: skip
        seen = np.zeros(shape, int)
        for where in parts_of(shape, chunks, width, 64):
            seen[where] += 1
            assert all(s.start % c == 0 for s, c in zip(where, chunks, strict=True))
        assert (seen == 1).all()


def test_errors_of_the_thread_that_reads_ahead_come_through() -> None:
    def items() -> Any:
        yield from range(5)
        raise ValueError("late")

    seen = []
    with pytest.raises(ValueError, match="late"):
        for item in read_ahead(items()):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert list(read_ahead(iter([]))) == [] and list(read_ahead(iter("ab"))) == ["a", "b"]


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"a": v}, lambda v: ((0,), v)])
def test_behind_a_large_part_the_next_is_read_while_it_is_used(wrap: Any) -> None:
    used, begun = threading.Event(), threading.Event()

    def items() -> Any:
        yield wrap(np.zeros(1 << 17))
        begun.set()
        yield used.wait(30)

    taken = read_ahead(items())
    next(taken)
    assert begun.wait(30)
    used.set()
    assert list(taken) == [True]


@pytest.mark.parametrize(
    "value",
    [
        None, 5, 2**80, 1.5, "é", b"\0\xff", 1j, [1, [2]], (1, (2,)), {1, 2}, frozenset({3}),
        {"a": {"b": 1}}, {1: "x", (2,): None}, {"$kist": 1},
    ],
)  # fmt: skip
def test_plain_values_come_back_from_json(value: Any) -> None:
    back = from_json(to_json(value))
    assert back == value and type(back) is type(value)


def test_arrays_come_back_from_json() -> None:
    text: Any = np.dtypes.StringDType(na_object=None)
    for array in [np.arange(6).reshape(2, 3), np.zeros(2, "i4,M8[s]"), np.array(["a", None], text)]:
        back = from_json(to_json(array))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


# The command line


def run(*arguments: str, code: int = 0, text: str | None = None) -> str:
    done = click.testing.CliRunner().invoke(main.cli, ["convert", *arguments], input=text)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_the_command_converts_and_reports(store: str, tmp_path: Path) -> None:
    h5 = str(tmp_path / "x.h5")
    pytest.importorskip("h5py")
    assert "1 array" in run(store, h5)
    assert run(store, h5, "--overwrite", "-q") == ""
    assert json.loads(run(h5, str(tmp_path / "b.kist"), "--json"))["ok"] is True
    assert "exists" in run(store, h5, code=3)
    assert "kist[" not in run(store, h5, "--set", "wrong=1", "--overwrite", code=2)
    assert "one side is a store" in run(h5, str(tmp_path / "y.csv"), code=2)


def test_the_command_reads_and_writes_pipes(store: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    kist_command = Path(sys.executable).with_name("kist")
    out = subprocess.run(
        [kist_command, "convert", f"{store}:g/t", "-", "-f", "csv"], capture_output=True, check=True
    )
    assert out.stdout.startswith(b'"f0","f1"\n0,0\n') and b"1 table" in out.stderr
    target = f"{tmp_path / 'b.kist'}:t"
    subprocess.run(
        [kist_command, "convert", "-", target, "-f", "csv"], input=out.stdout, check=True
    )
    with kist.open(tmp_path / "b.kist") as back:
        assert back["t"].columns == ("f0", "f1") or list(back["t"].columns) == ["f0", "f1"]


def test_options_of_the_command_are_read_as_what_they_are(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.csv").write_text("1;x\n2;none\n")
    target = str(tmp_path / "a.kist")
    options = ["header=false", "names=a,b", "delimiter=;", "null_values=none,-"]
    run(str(tmp_path / "t.csv"), target, *(word for o in options for word in ("--set", o)))
    with kist.open(target) as store:
        assert store["t"]["b"][:].tolist() == ["x", None] and store["t"]["a"][:].tolist() == [1, 2]


# The page


def test_the_page_tells_every_loss() -> None:
    page = DOCS.read_text(encoding="utf-8")
    row = r"^\| `([\w.]+)` \| (changed|not kept) \| (.+?) \| (.+?) \|$"
    rows = set(re.findall(row, page, re.MULTILINE))
    losses = {
        (code, loss.verdict, loss.what, loss.becomes)
        for name in FORMATS
        for code, loss in bridge_of(name).losses.items()
    }
    assert rows == losses


def test_the_page_names_every_format() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in FORMATS)


def test_an_existing_file_is_kept_by_its_error(store: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"mine")
    with pytest.raises(StoreExistsError):
        kist.convert(f"{store}:x", tmp_path / "x.npy")
    assert (tmp_path / "x.npy").read_bytes() == b"mine"


@pytest.mark.parametrize("extension", ["npz", "sqlite", "zarr", "nc", "b2z"])
def test_links_are_named_among_what_is_not_kept(tmp_path: Path, extension: str) -> None:
    for module in {"zarr": ["zarr"], "nc": ["netCDF4"], "b2z": ["blosc2"]}.get(extension, []):
        pytest.importorskip(module)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/t"] = np.zeros(3, "i4,f8")
        store["x"] = np.arange(3)
        store.create_link("g/l", "/x")
        store.create_union("u", "g/t*")
    report = kist.convert(tmp_path / "a.kist", tmp_path / f"out.{extension}")
    lost = [note for note in report.notes if note.code.endswith(".link")]
    assert sorted(place for note in lost for place in note.places) == ["/g/l", "/u"]


@pytest.mark.parametrize("extension", ["npz", "npy", "sqlite", "csv", "zarr", "h5", "nc", "b2nd"])
@pytest.mark.parametrize("name", ["u", "n"])
def test_what_shows_other_places_is_not_converted(
    tmp_path: Path, name: str, extension: str
) -> None:
    np.save(tmp_path / "n.npy", np.arange(3))
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.zeros(3, "i4,f8")
        store.create_union("u", "t*")
        store.create_array_link("n", "n.npy")
    with pytest.raises(kist.ConversionError, match="elsewhere"):
        kist.convert(f"{tmp_path / 'a.kist'}:{name}", tmp_path / f"out.{extension}")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("format_", ["npy", "npz", "sqlite", "b2z"])
def test_a_format_that_needs_a_file_is_not_written_to_one_called_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with kist.open("a.kist", "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(kist.ConversionError, match="not written to a pipe"):
        kist.convert("a.kist:x", "-", format=format_)
    with pytest.raises(kist.ConversionError, match="not read from a pipe"):
        kist.convert("-", "a.kist:y", format=format_)
    assert os.listdir() == ["a.kist"]


def test_between_stores_nothing_is_ignored_that_was_asked_for(tmp_path: Path) -> None:
    one, two = tmp_path / "a.kist", tmp_path / "b.kist"
    with kist.open(one, "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(kist.ConversionError, match="repack"):
        kist.convert(one, two, codec="small")
    with pytest.raises(TypeError, match="flavour"):
        kist.convert(one, two, flavour="pytables")
    assert not two.exists()
    kist.convert(one, two)
