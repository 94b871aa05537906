"""Tables as Arrow, for polars and others, and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model.frames import arrow_out
from kist.model.tables.changes import write as table_write
from kist.testing.strategies import random_array

pa = pytest.importorskip("pyarrow")

Array = np.ndarray[Any, Any]

TIMES = ["M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "M8[D]", "m8[s]", "m8[ms]", "m8[us]", "m8[ns]"]
PLAIN = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "S1", "S5", "V3"]


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


@st.composite
def dtypes(draw: st.DrawFn) -> np.dtype[Any]:
    """Draw a dtype of rows that Arrow has types for."""
    scalar = st.sampled_from([*PLAIN, *TIMES]).map(np.dtype)
    part = st.recursive(
        scalar,
        lambda inner: (
            st.tuples(inner, st.tuples(st.integers(1, 3), st.integers(1, 2))).map(np.dtype)
            | st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: np.dtype([(f"f{at}", one) for at, one in enumerate(parts)])
            )
        ),
        max_leaves=5,
    )
    columns = draw(st.lists(part, min_size=1, max_size=5))
    return np.dtype([(f"c{at}", one) for at, one in enumerate(columns)])


def leaves(array: Array) -> Iterator[Array]:
    if array.dtype.names is None:
        yield array
    for name in array.dtype.names or ():
        yield from leaves(array[name])


def random_rows(dtype: np.dtype[Any], n: int, seed: int) -> Array:
    rows = random_array(dtype, n, seed)
    rng = np.random.default_rng(seed)
    for leaf in leaves(rows):
        if leaf.dtype.kind in "Mm":
            leaf[...] = rng.integers(-(2**31), 2**31, leaf.shape).astype(leaf.dtype)
            leaf[rng.random(leaf.shape) < 0.2] = "NaT"
        elif leaf.dtype.kind == "S":  # Arrow keeps no zeros that only fill up
            leaf[...] = rng.choice(np.array([b"", b"a", b"bc\0d", b"\0e"]), leaf.shape)
    return rows


@given(dtypes(), st.integers(0, 300), st.integers(0, 1000), st.booleans())
def test_rows_go_through_arrow_and_come_back(
    dtype: np.dtype[Any], n: int, seed: int, stream: bool
) -> None:
    rows = random_rows(dtype, n, seed)
    with kist.open(":memory:") as store:
        store["t"] = rows
        table = pa.RecordBatchReader.from_stream(store["t"]).read_all() if stream else None
        table = table if stream else store["t"].to_arrow()
        table.validate(full=True)
        assert table.num_rows == n
        try:
            store["u"] = table
        except kist.DTypeError as error:
            assert "bytes" in str(error)  # 'S' inside a struct has no width
            return
        for name in dtype.names or ():
            back = store["u"][name][:]
            assert back.shape == rows[name].shape
            for a, b in zip(leaves(back), leaves(rows[name]), strict=True):
                assert a.dtype.kind == b.dtype.kind
                assert a.astype(b.dtype).tobytes() == b.tobytes()
        assert store["t"].append(table) == n


def test_foreign_byte_order_is_swapped(store: Any) -> None:
    rows = np.array([(1, 2.5, "2020", 7)], ">i4,>f8,>M8[s],>m8[D]")
    store["t"] = rows
    assert store["t"].to_arrow().to_pylist()[0]["f0"] == 1
    assert store["t"].to_arrow()["f1"].to_pylist() == [2.5]
    assert str(store["t"].to_arrow()["f2"][0]) == "2020-01-01 00:00:00"
    assert store["t"].to_arrow()["f3"][0].as_py().days == 7


@pytest.mark.parametrize("unit", ["h", "m", "W", "M", "Y", "25s", "10ms"])
def test_units_that_arrow_lacks_become_finer_ones(store: Any, unit: str) -> None:
    times = np.array(["2020-03-01", "NaT", "1969"], f"M8[{unit}]")
    store["t"] = times.view([("t", times.dtype)])
    back = store["t"].to_arrow()["t"].to_numpy()
    assert back.dtype in ("M8[s]", "M8[ms]")
    assert np.array_equal(back, times.astype(back.dtype), equal_nan=True)


def test_zones_go_through_arrow(store: Any) -> None:
    kind = pa.timestamp("us", "Europe/Berlin")
    table = pa.table({"t": pa.array([0, 10**12, None], kind), "n": [1, 2, 3]})
    store["t"] = table
    assert store["t"].dtype["t"] == np.dtype("M8[us]")
    assert store["t"].to_arrow().equals(table)
    store["t"].append(table)
    assert store["t"].to_arrow().equals(pa.concat_tables([table, table]).combine_chunks())
    assert store["t"]["t"].to_arrow().type == kind
    assert store["t"].where("n > 1")[["t"]].to_arrow().schema.field("t").type == kind
    store.copy("t", "copy")
    assert store["copy"].to_arrow().schema == table.schema


def test_parts_of_tables(store: Any) -> None:
    rows = np.zeros(5, [("a", "i4"), ("n", [("x", "f8"), ("y", "S2")]), ("m", "i2", (2, 3))])
    rows["a"], rows["n"]["x"] = range(5), range(5, 10)
    rows["m"] = np.arange(30).reshape(5, 2, 3)
    store["t"] = rows
    t = store["t"]
    hits = t.where("a > 2")
    assert t["a"].to_arrow().to_pylist() == [0, 1, 2, 3, 4]
    assert t["n.x"].to_arrow().to_pylist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert t["m"].to_arrow().to_pylist()[1] == [[6, 7, 8], [9, 10, 11]]
    assert t["n"].to_arrow().column_names == ["x", "y"]
    assert t[["m", "a"]].to_arrow().column_names == ["m", "a"]
    assert t.to_arrow(["n.x", "a"]).column_names == ["n.x", "a"]
    assert hits.to_arrow().to_pylist()[0] == {
        "a": 3, "n": {"x": 8.0, "y": b""}, "m": [[18, 19, 20], [21, 22, 23]]
    }  # fmt: skip
    assert hits["a"].to_arrow().to_pylist() == [3, 4]
    assert pa.table(hits[["a"]]).to_pydict() == {"a": [3, 4]}
    assert pa.table(t["a"]).to_pydict() == {"a": [0, 1, 2, 3, 4]}
    assert t.where("a > 9").to_arrow().num_rows == 0
    for part in (t, t["a"], t["n"], t[["a"]], hits, hits["m"], hits[["a", "n"]]):
        assert part.to_numpy().tobytes() == part[:].tobytes()
        assert part.to_numpy().flags.writeable


def test_a_requested_schema_is_kept_to(store: Any) -> None:
    store["t"] = np.array([(1, 2.5)], "i4,f8")
    wanted = pa.schema([("f0", pa.int64()), ("f1", pa.float32())])
    capsule = store["t"].__arrow_c_stream__(wanted.__arrow_c_schema__())
    assert pa.RecordBatchReader._import_from_c_capsule(capsule).read_all().schema == wanted


def test_a_stream_shows_the_rows_of_when_it_was_asked_for(path: Path) -> None:
    with kist.open(path, "a") as store:
        store["t"] = np.arange(150_000).view([("a", "i8")])
        reader = pa.RecordBatchReader.from_stream(store["t"])
        first = reader.read_next_batch()
        del store["t"]
        store["u"] = np.zeros(300_000, "f8,f8")
        rest = reader.read_all()
        assert first.num_rows + rest.num_rows == 150_000
        assert rest["a"][-1].as_py() == 149_999


def test_a_stream_that_is_dropped_lets_its_snapshot_go(path: Path) -> None:
    with kist.open(path, "a") as store:
        store["t"] = np.arange(150_000).view([("a", "i8")])
        reader = pa.RecordBatchReader.from_stream(store["t"])
        reader.read_next_batch()
        unread = pa.RecordBatchReader.from_stream(store["t"])
        held = store.info["pins"][0]["commit"]
        store["u"] = np.zeros(3, "f8,f8")
        assert held in [pin["commit"] for pin in store.info["pins"]]
        del reader
        assert held in [pin["commit"] for pin in store.info["pins"]]
        del unread
        assert held not in [pin["commit"] for pin in store.info["pins"]]


def test_streams_are_taken_and_given_a_row_group_at_a_time(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_given, seen = 0, []
    write_pages = table_write.write_pages

    def batches() -> Iterator[Any]:
        nonlocal n_given
        for _ in range(20):
            n_given += 1
            yield pa.record_batch({"a": np.arange(10_000)})

    def writing(*args: Any, **options: Any) -> None:
        seen.append(n_given)
        write_pages(*args, **options)

    monkeypatch.setattr(table_write, "write_pages", writing)
    schema = pa.schema([("a", pa.int64())])
    store["t"] = pa.RecordBatchReader.from_batches(schema, batches())
    assert seen == [7, 14, 20]  # the rest is a piece
    assert np.array_equal(store["t"]["a"][:], np.tile(np.arange(10_000), 20))

    read = []
    shaped = arrow_out.shaped

    def reading(*args: Any) -> Any:
        read.append(args[2])
        return shaped(*args)

    monkeypatch.setattr(arrow_out, "shaped", reading)
    reader = pa.RecordBatchReader.from_stream(store["t"])
    assert read == []
    assert reader.read_next_batch().num_rows == 65_536
    assert read == [65_536]


def test_numbers_and_times_are_given_without_a_copy(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays: list[Array] = []
    shaped = arrow_out.shaped

    def reading(*args: Any) -> Any:
        arrays[:] = shaped(*args)
        return arrays

    monkeypatch.setattr(arrow_out, "shaped", reading)
    store["t"] = np.zeros(1000, [("a", "i4"), ("b", "f8"), ("t", "M8[ns]"), ("m", "f4", (3,))])
    (batch,) = store["t"].to_arrow().to_batches()
    given = [batch.column(at) for at in range(3)] + [batch.column(3).values]
    assert [a.ctypes.data for a in arrays] == [one.buffers()[-1].address for one in given]


def test_a_transaction_shows_its_own_rows(store: Any) -> None:
    with store.transaction():
        store["t"] = np.arange(10).view([("a", "i8")])
        store["t"].append(pa.table({"a": [10]}))
        assert store["t"].to_arrow()["a"].to_pylist() == list(range(11))
        assert pa.table(store["t"]).num_rows == 11


def test_polars_takes_and_gives_tables(store: Any) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "i": pl.Series([1, 2, 3], dtype=pl.Int16),
            "f": [0.5, float("nan"), 1.5],
            "b": [True, False, True],
            "d": pl.Series([0, 10, None], dtype=pl.Date),
            "t": pl.Series([0, 10, 20], dtype=pl.Datetime("ms", "Asia/Tokyo")),
            "u": pl.Series([0, 10, 20], dtype=pl.Duration("us")),
            "a": pl.Series([[1, 2], [3, 4], [5, 6]], dtype=pl.Array(pl.Int8, 2)),
            "n": [{"x": 1}, {"x": 2}, {"x": 3}],
        }
    )
    store["t"] = frame
    assert store["t"].to_polars().equals(frame)
    assert store["t"].to_polars().schema == frame.schema
    assert store["t"].append(frame) == 3
    assert store["t"].to_polars().equals(pl.concat([frame, frame]))
    assert pl.DataFrame(store["t"].where("i > 2")).equals(frame[2:].vstack(frame[2:]))
    assert store["t"]["i"].to_polars().equals(pl.Series("i", [1, 2, 3] * 2, dtype=pl.Int16))
    store["u"] = pl.LazyFrame(frame).select("i").collect_batches()
    assert store["u"]["i"][:].tolist() == [1, 2, 3]


def test_text_goes_through_arrow_and_polars(store: Any) -> None:
    pl = pytest.importorskip("polars")
    texts = ["a", None, "", "é" * 100, "b\0c", "日本"]
    kinds = [pa.string(), pa.large_string(), pa.string_view()]
    table = pa.table({f"s{at}": pa.array(texts, kind) for at, kind in enumerate(kinds)})
    store["t"] = table
    assert store["t"]["s0"].dtype == np.dtypes.StringDType(na_object=None)
    assert store["t"].to_arrow().to_pydict() == table.to_pydict()
    assert store["t"].to_arrow().schema.field("s0").type == pa.large_string()
    assert store["t"].to_polars().equals(pl.from_arrow(table))
    store["t"].append(store["t"].to_polars())
    assert store["t"]["s1"].to_arrow().to_pylist() == texts * 2
    assert store["t"].where("s0 == 'a'").to_arrow(["s2"]).to_pydict() == {"s2": ["a", "a"]}
    store["u"] = np.array([("é", b"\0x"), ("", b""), ("abc", b"abc")], "U3,S3")
    assert store["u"].to_arrow().to_pydict() == {
        "f0": ["é", "", "abc"],
        "f1": [b"\0x", b"", b"abc"],
    }
    store["v"] = store["u"].to_arrow()
    assert store["v"]["f1"][:].tolist() == [b"\0x", b"", b"abc"]
    store["w"] = np.array([("\ud800",)], [("bad", ">U1")])
    with pytest.raises(kist.DTypeError, match=r"'bad'.*UTF-8"):
        store["w"].to_arrow()


def test_flights_come_back_equal(shared_data: Path, path: Path) -> None:
    with pa.memory_map(str(shared_data / "flights-200k.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    with kist.open(path, "a") as store:
        store["flights"] = table.to_reader(max_chunksize=50_000)
        store["flights"].append(table)
    with kist.open(path) as store:
        back = pa.table(store["flights"])
        assert back.equals(pa.concat_tables([table, table]).combine_chunks())
        late = store["flights"].where("delay > 100").to_arrow()
        assert late.num_rows == 2 * (table["delay"].to_numpy() > 100).sum()


def test_duckdb_queries_tables(store: Any) -> None:
    duckdb = pytest.importorskip("duckdb")
    store["t"] = np.arange(200_000).view([("a", "i8")])
    t = store["t"]
    assert t.columns == ("a",)
    assert duckdb.sql("select count(*), sum(a) from t where a % 2 = 0").fetchall() == [
        (100_000, 9_999_900_000)
    ]
    store["u"] = duckdb.sql("select a + 1 as b from t where a < 3")
    assert store["u"]["b"][:].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("store['t'].to_arrow()", "arrow"),
        ("store['t'].__arrow_c_stream__()", "arrow"),
        ("store['t'].to_polars()", "polars"),
        ("store['t'].to_pandas()", "pandas"),
    ],
)
def test_an_extra_that_is_missing_is_named(code: str, extra: str) -> None:
    program = (
        "import sys\n"
        "for name in ('pyarrow', 'polars', 'pandas'): sys.modules[name] = None\n"
        "import kist, numpy as np\n"
        "store = kist.open(':memory:'); store['t'] = np.zeros(3, 'i4,f8')\n"
        f"try: {code}\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"pip install 'kist[{extra}]'" in run.stdout, run.stderr


def test_nothing_is_imported_that_was_not_asked_for() -> None:
    program = (
        "import sys, kist, numpy as np\n"
        "store = kist.open(':memory:'); store['t'] = np.zeros(3, 'i4,f8')\n"
        "store['t'].append(iter([(1, 2.0)])); store['t'].append([(1, 2.0)])\n"
        "store['t'].to_numpy()\n"
        "print([name for name in ('pandas', 'pyarrow', 'polars') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


def test_plain_frames_of_pandas_need_no_pyarrow() -> None:
    pytest.importorskip("pandas")
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import kist, pandas as pd, numpy as np\n"
        "store = kist.open(':memory:')\n"
        "times = pd.to_datetime(['2020', None])\n"
        "frame = pd.DataFrame({'a': [1, 2], 'b': [0.5, np.nan], 't': times})\n"
        "store['t'] = frame; store['t'].append(frame)\n"
        "pd.testing.assert_frame_equal(store['t'].to_pandas(), pd.concat([frame] * 2, "
        "ignore_index=True))\n"
        "print('equal')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "equal\n", run.stderr
