"""`kist cat` and `kist head`: JSON and CSV give the data back, and text fits the terminal."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kist
from kist.cli import cat_array, cat_table, cells, main, pick
from kist.cli.lines import aligned
from kist.errors import SelectionError, ShapeError
from kist.model.text import width

Array = np.ndarray[Any, Any]

N = 20_000
ROWS = np.empty(
    N, [("time", "M8[ms]"), ("sym", "S3"), ("n", [("x", "f8"), ("v", "i2", 2)]), ("name", "U9")]
)
ROWS["time"] = np.datetime64("2026-01-01", "ms") + np.arange(N)
ROWS["sym"] = np.array([b"AB", b"<&>", b"\xc3\xbc"])[np.arange(N) % 3]
ROWS["n"]["x"] = np.arange(N) / 7
ROWS["n"]["v"] = np.arange(2 * N).reshape(N, 2) % 1000
ROWS["name"] = np.array(["a,b", 'say "x"', "two\nlines", "tab\there"])[np.arange(N) % 4]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cat") / "t.kist"
    with kist.open(path, "w") as store:
        store["g/t"] = ROWS
        store["g/odd[1:2]"] = ROWS[:3]
        store["empty"] = ROWS[:0]
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def as_found(row: np.void) -> dict[str, Any]:
    """What JSON says of a row of ROWS."""
    return {
        "time": str(row["time"]),
        "sym": row["sym"].decode(),
        "n": {"x": row["n"]["x"].item(), "v": row["n"]["v"].tolist()},
        "name": str(row["name"]),
    }


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ([], slice(None)),
        (["--rows", "10:20"], slice(10, 20)),
        (["--rows", "-3:"], slice(-3, None)),
        (["--rows", ":9000"], slice(9000)),
        (["--rows", "::-4999"], slice(None, None, -4999)),
        (["--rows", "20:10"], slice(20, 10)),
        (["--rows", "5"], [5]),
        (["--rows", "7,-1,7"], [7, -1, 7]),
    ],
)
def test_json_of_a_table_is_its_rows(file: str, arguments: list[str], rows: Any) -> None:
    found = json.loads(run("cat", f"{file}:g/t", "--json", *arguments))
    assert found == [as_found(row) for row in ROWS[rows]]


@pytest.mark.parametrize("text", ["10:20", "5", "7,-1", "::3000"])
def test_a_range_may_stand_behind_the_path(file: str, text: str) -> None:
    short = run("cat", f"{file}:g/t[{text}]", "--json")
    assert short == run("cat", f"{file}:g/t", "--rows", text, "--json")
    assert short == run("cat", file, f"g/t[{text}]", "--json")


def test_a_name_that_ends_in_a_range_is_a_name_first(file: str) -> None:
    assert len(json.loads(run("cat", f"{file}:g/odd[1:2]", "--json"))) == 3
    assert len(json.loads(run("cat", f"{file}:g/odd[1:2][0]", "--json"))) == 1


def test_csv_of_a_table_reads_back(file: str) -> None:
    text = run("cat", f"{file}:g/t", "--csv")
    head, *lines = csv.reader(io.StringIO(text))
    assert head == ["time", "sym", "n.x", "n.v", "name"]
    assert len(lines) == N
    back = np.array(
        [(t, s.encode(), (float(x), json.loads(v)), name) for t, s, x, v, name in lines],
        ROWS.dtype,
    )
    assert (back == ROWS).all()


def test_csv_of_a_table_reads_back_with_pandas(file: str) -> None:
    pandas = pytest.importorskip("pandas")
    text = run("cat", f"{file}:g/t", "--csv", "-c", "time,n.x,name")
    frame = pandas.read_csv(io.StringIO(text), parse_dates=["time"])
    assert (frame["time"].to_numpy().astype("M8[ms]") == ROWS["time"]).all()
    assert np.allclose(frame["n.x"], ROWS["n"]["x"], rtol=1e-15, atol=0)
    assert frame["name"].tolist() == ROWS["name"].tolist()


@pytest.mark.parametrize("rows", [None, ":5", "3:20:4", "-7:-2", "100:", "2", "-1", "4:2"])
def test_where_takes_a_range_of_the_hits(file: str, rows: str | None) -> None:
    hits = ROWS[ROWS["n"]["x"] > 1000]
    picked = slice(None) if rows is None else pick.parse_axes(rows)[0]
    wanted = hits[picked] if isinstance(picked, slice) else hits[[picked]]
    arguments = [] if rows is None else ["--rows", rows]
    found = json.loads(run("cat", f"{file}:g/t", "--where", "n.x > 1000", "--json", *arguments))
    assert found == [as_found(row) for row in wanted]


def test_columns_are_those_asked_for_in_their_order(file: str) -> None:
    found = json.loads(run("cat", f"{file}:g/t[:2]", "-c", "name, sym", "--json"))
    assert [list(row) for row in found] == [["name", "sym"]] * 2


def test_an_empty_table_has_a_header_and_no_rows(file: str) -> None:
    assert run("cat", f"{file}:empty") == "time\tsym\tn.x\tn.v\tname\n"
    assert run("cat", f"{file}:empty", "--csv") == "time,sym,n.x,n.v,name\n"
    assert json.loads(run("cat", f"{file}:empty", "--json")) == []
    assert json.loads(run("cat", f"{file}:g/t", "--where", "n.x < 0", "--json")) == []
    assert run("cat", f"{file}:g/t", "--where", "n.x < 0").count("\n") == 1


def test_other_programs_get_whole_values_with_tabs_between(file: str) -> None:
    lines = run("cat", f"{file}:g/t[:4]").splitlines()
    assert [line.split("\t") for line in lines[2:4]] == [
        ["2026-01-01T00:00:00.001", "<&>", "0.14285714285714285", "[2, 3]", 'say "x"'],
        ["2026-01-01T00:00:00.002", "ü", "0.2857142857142857", "[4, 5]", "two\\nlines"],
    ]


def test_reading_is_in_blocks(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    before = cells.texts

    def texts(values: Array, style: Any) -> list[str]:
        sizes.append(len(values))
        return before(values, style)

    monkeypatch.setattr(cat_table, "texts", texts)
    for arguments in ([], ["--where", "n.x >= 0"], ["--rows", "::-1"]):
        sizes.clear()
        run("cat", f"{file}:g/t", "--json", *arguments)
        assert sum(sizes) == N and max(sizes) <= 8192


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{file}"], "'/' is a group"),
        (["{file}:g"], "is a group; 'kist ls'"),
        (["{file}:g/u"], "there is no '/g/u'"),
        (["{file}:g/u[1]"], "there is no"),
        (["{file}:g/t", "--rows", "1:2:0"], "no range"),
        (["{file}:g/t", "--rows", "1:2,3"], "one range"),
        (["{file}:g/t", "--rows", "x"], "'x' is no range"),
        (["{file}:g/t", "--rows", "20000"], "20000"),
        (["{file}:g/t[1]", "--rows", "1"], "give one"),
        (["{file}:g/t", "--csv", "--json"], "take one"),
        (["{file}:g/t", "--key", "x"], "no --key; it takes --columns"),
        (["{file}:g/t", "--where", "q > 1"], "unknown column 'q'"),
        (["{file}:g/t", "--where", "n.x >= 0", "--rows", "::-1"], "step above 0"),
        (["{file}:g/t", "--where", "n.x >= 0", "--rows", "1,2"], "one range"),
        (["{file}:g/t", "--where", "n.x < 0", "--rows", "0"], "no hit 0"),
    ],
)
def test_what_cannot_be_printed_is_one_line(file: str, arguments: list[str], words: str) -> None:
    output = run("cat", *[a.format(file=file) for a in arguments], code=2)
    assert words in output and output.startswith("kist: ") and output.count("\n") == 1


def test_a_missing_file_is_named_without_the_path_in_it() -> None:
    assert "nothing.kist'" in run("cat", "nothing.kist:g/t", code=3)


# Values


def parsed(text: str, dtype: np.dtype[Any]) -> Any:
    """The inverse of `texts(..., "json")` for one scalar."""
    value = json.loads(text, parse_float=str)
    if dtype.kind in "fc" and value is None:
        return math.nan
    return value


DTYPES = ["b1", "i1", "u8", ">i4", "f2", "f4", ">f8", "g", "c8", "c16", "M8[s]", "m8[us]", "U4"]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_json_of_scalars_parses_and_equals_the_data(dtype: str, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(dtype, st.integers(0, 6)))
    texts = cells.texts(values, "json")
    back = [parsed(text, values.dtype) for text in texts]
    if values.dtype.kind == "c":
        back = [complex(*(float(0 if x is None else x) for x in pair)) for pair in back]
        with np.errstate(over="ignore"):
            got = np.array(back).astype(values.dtype)
        whole = np.isfinite(values)
        assert (got[whole] == values[whole]).all()
    elif values.dtype.kind in "Mm":
        none = [text is None for text in back]
        assert none == np.isnat(values).tolist()
        if values.dtype.kind == "M":
            got = np.array([text or "NaT" for text in back], values.dtype)
            assert np.array_equal(got[~np.isnat(values)], values[~np.isnat(values)])
    else:
        got = np.array([str(x) if dtype == "g" else x for x in back], object).astype(values.dtype)
        assert np.array_equal(got, values, equal_nan=values.dtype.kind == "f")


@given(st.data())
def test_csv_of_scalars_reads_back(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["b1", "i8", "f2", "f4", "f8", "c16", "M8[ns]"]))
    values = data.draw(hnp.arrays(dtype, st.integers(1, 6)))
    kind = {"b1": lambda t: t == "True", "c16": complex}.get(dtype, values.dtype.type)
    back = np.array([kind(text) for text in cells.texts(values, "csv")]).astype(dtype)
    assert back.tobytes() == values.tobytes() or np.array_equal(back, values, equal_nan=True)


@given(hnp.arrays("i2", hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))
def test_json_of_arrays_is_nested_lists(values: Array) -> None:
    assert [json.loads(text) for text in cells.texts(values, "json")] == values.tolist()
    assert "".join(cat_array.array_lines(values, None, "json", None)) == (
        cells.value_json(values) + "\n"
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(PLAIN)
def test_json_of_plain_values_is_what_json_makes_of_them(value: Any) -> None:
    assert json.loads(cells.value_json(value)) == value


def test_json_of_other_values() -> None:
    from datetime import UTC, date, datetime, timedelta
    from decimal import Decimal

    value = {
        1: (b"a", bytearray(b"\xff"), {3, 1, 2}, frozenset("b")),
        "t": [datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), timedelta(1), Decimal("1.50")],
        "n": [np.int64(3), np.float32(0.1), 1 + 2j, math.inf, math.nan, np.arange(3), 2**80],
        ("a", 1): np.array([(1, b"x")], "i4,S1"),
        "v": np.void(b"\x01\xff"),
        "b": np.bool_(True),
    }
    assert json.loads(cells.value_json(value)) == {
        "1": ["a", "\\xff", [1, 2, 3], ["b"]],
        "t": ["2026-01-02T00:00:00+00:00", "2026-01-02", "1 day, 0:00:00", "1.50"],
        "n": [3, 0.1, [1.0, 2.0], "Infinity", None, [0, 1, 2], 2**80],
        '["a", 1]': [{"f0": 1, "f1": "x"}],
        "v": "01ff",
        "b": True,
    }


# Arrays


def lines(array: Array, picked: str | None, style: Any, wide: int | None = None) -> str:
    axes = None if picked is None else pick.parse_axes(picked)
    return "".join(cat_array.array_lines(array, axes, style, wide))


@pytest.mark.parametrize("limit", [1, 40, 1000, 4 << 20])
@pytest.mark.parametrize("picked", [None, "0:2", "1", "-1,::-1", "::-2,1,:", "5:2", "0,0,0"])
def test_any_part_of_an_array_is_the_same_in_pieces_of_any_size(
    limit: int, picked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cat_array, "_BYTES", limit)
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    axes = pick.parse_axes(picked) if picked else []
    expected = array[tuple(axes)]
    assert json.loads(lines(array, picked, "json")) == expected.tolist()
    if expected.ndim in (1, 2):
        rows = [list(map(int, row)) for row in csv.reader(io.StringIO(lines(array, picked, "csv")))]
        assert rows == expected.reshape(len(expected), -1).tolist()
        plain = [line.split("\t") for line in lines(array, picked, "plain").splitlines()]
        assert [list(map(int, row)) for row in plain] == rows


def test_planes_of_an_array_are_named() -> None:
    array = np.arange(8).reshape(2, 2, 2)
    assert lines(array, None, "plain") == "[0, :, :]\n0\t1\n2\t3\n[1, :, :]\n4\t5\n6\t7\n"
    with pytest.raises(ShapeError, match="--range"):
        lines(array, None, "csv")


def test_a_wide_array_reads_no_more_than_a_terminal_shows() -> None:
    class Watched:
        shape, dtype, n = (3, 10**9), np.dtype("u1"), 0

        def __getitem__(self, index: Any) -> Array:
            out = np.zeros(
                [len(range(*s.indices(n))) for s, n in zip(index, self.shape, strict=True)], "u1"
            )
            self.n += out.size
            return out

    watched = Watched()
    text = "".join(cat_array.array_lines(watched, None, "plain", 80))
    assert [len(line) for line in text.splitlines()] == [80] * 3
    assert watched.n < 1000


@pytest.mark.parametrize(
    ("shape", "picked"), [((3,), "3"), ((3,), "0,0"), ((), "0"), ((2, 2), "0,-3")]
)
def test_ranges_beyond_an_array_are_refused(shape: tuple[int, ...], picked: str) -> None:
    with pytest.raises(SelectionError):
        lines(np.zeros(shape), picked, "json")


@given(st.integers(-9, 9) | st.slices(9))
def test_ranges_are_read_as_python_writes_them(axis: int | slice) -> None:
    if isinstance(axis, slice):
        text = ":".join("" if x is None else str(x) for x in (axis.start, axis.stop, axis.step))
    else:
        text = str(axis)
    assert pick.parse_axes(f" {text} , 1") == [axis, 1]
    if isinstance(axis, slice):
        rows = range(9)[axis]
        assert np.arange(9)[pick.as_slice(rows)].tolist() == list(rows)


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "::0", "1.5", "1,,2", "--1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="no range"):
        pick.parse_axes(text)


# Terminals and pipes


@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=9)), max_size=5),
    st.integers(10, 90),
)
def test_aligned_lines_fit(rows: list[tuple[str, str]], most: int) -> None:
    columns = [[cells.visible(row[at]) for row in rows] for at in range(2)]
    found = list(aligned(["one", "two"], [columns], [True, False], most))
    assert len(found) == len(rows) + 1
    assert max(width(line[:-1]) for line in found) <= most


def test_a_terminal_shows_lines_that_fit(file: str) -> None:
    import fcntl
    import pty
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    command = [str(Path(sys.executable).with_name("kist")), "cat", f"{file}:g/t[:9]"]
    done = subprocess.Popen(command, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    output = b""
    while True:
        try:
            some = os.read(leader, 4096)
        except OSError:  # so Linux says that the other end is closed
            break
        if not some:
            break
        output += some
    os.close(leader)
    assert done.wait() == 0
    shown = output.decode().replace("\r\n", "\n").splitlines()
    assert len(shown) == 10
    assert max(map(width, shown)) <= 60
    assert shown[0].split()[:4] == ["time", "sym", "n.x", "n.v"]


def test_a_closed_pipe_ends_quietly(file: str) -> None:
    command = Path(sys.executable).with_name("kist")
    done = subprocess.run(
        ["bash", "-c", f"{command} cat {file}:g/t | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.split("\t")[0] == "time"
    assert done.returncode in (0, 128 + 13)  # SIGPIPE, as other commands


def test_an_output_of_few_letters_is_no_error(file: str) -> None:
    command = Path(sys.executable).with_name("kist")
    done = subprocess.run(
        [command, "tree", file],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert b"\\u2514" in done.stdout


def test_strings_of_any_length_are_printed_whole(path: Path) -> None:
    words = np.array(["a,b", None, "", "y" * 10_000], np.dtypes.StringDType(na_object=None))
    with kist.open(path, "w") as store:
        store.create_table("t", {"a": np.arange(4), "s": words})
    place = f"{path}:t"
    assert [row["s"] for row in json.loads(run("cat", place, "--json"))] == words.tolist()
    back = list(csv.reader(io.StringIO(run("cat", place, "--csv"))))
    assert [row[1] for row in back[1:]] == ["a,b", "", "", "y" * 10_000]
    assert run("cat", place, "-c", "s").splitlines()[2] == "None"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Arrays of several ranks."""
    path = tmp_path_factory.mktemp("arrays") / "t.kist"
    with kist.open(path, "w") as store:
        store.create_array("raw", IMAGES, chunks=(2, 8, 5))
        store["one"] = np.float32(0.1)
        store["times"] = np.arange("2026-01", "2026-04", dtype="M8[M]")
        store.create_array("long", shape=(10**6, 10**6), dtype="f4")
    return str(path)


IMAGES = np.random.default_rng(0).normal(size=(7, 20, 9))


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (":", np.s_[:]), ("3", np.s_[3]), ("-1,::-3", np.s_[-1, ::-3]),
        ("1:3,5:2", np.s_[1:3, 5:2]),
        ("6:0:-2,:,0:9:4", np.s_[6:0:-2, :, 0:9:4]), ("1,2,3", np.s_[1, 2, 3]),
    ],
)  # fmt: skip
def test_json_and_csv_of_an_array_are_its_elements(images: str, text: str, index: Any) -> None:
    wanted = IMAGES[index]
    found = run("cat", f"{images}:raw", f"--range={text}", "--json")
    assert json.loads(found) == wanted.tolist()
    assert run("cat", f"{images}:raw[{text}]", "--json") == found
    if wanted.ndim in (1, 2):
        lines = csv.reader(io.StringIO(run("cat", f"{images}:raw[{text}]", "--csv")))
        back = np.array([[float(cell) for cell in line] for line in lines])
        assert np.array_equal(back.reshape(wanted.shape), wanted)


def test_arrays_of_other_dtypes_are_printed(images: str) -> None:
    assert run("cat", f"{images}:one") == "0.1\n"
    assert json.loads(run("cat", f"{images}:times", "--json")) == ["2026-01", "2026-02", "2026-03"]
    assert json.loads(run("cat", f"{images}:long[-1,-2:]", "--json")) == [0.0, 0.0]
    assert run("head", f"{images}:times", "-n", "1") == "2026-01\n... and 2 more along axis 0\n"
    assert run("head", f"{images}:one") == "0.1\n"
    assert run("ls", "-l", images).splitlines()[-1].split() == [
        "array",
        "3",
        "datetime64[M]",
        "times",
    ]
    assert json.loads(run("ls", "--json", images))[2]["shape"] == [7, 20, 9]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{file}:raw", "--csv"], "CSV has rows and columns"),
        (["{file}:raw", "--range", "7"], "out of range on axis 0"),
        (["{file}:raw", "--range", "0,0,0,0"], "4 ranges"),
        (["{file}:one", "--range", "0"], "1 ranges"),
        (["{file}:raw", "--where", "x > 1"], "no --where; it takes --range"),
        (["{file}:raw[0]", "--range", "0"], "give one"),
    ],
)
def test_parts_that_an_array_lacks_are_one_line(
    images: str, arguments: list[str], words: str
) -> None:
    output = run("cat", *[a.format(file=images) for a in arguments], code=2)
    assert words in output and output.startswith("kist: ") and output.count("\n") == 1
