"""`kist.evaluate`: what it gives is what NumPy gives, however it is cut and wherever it goes."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist import options
from kist.model.evaluation import computed
from kist.model.evaluation import operands as reading

DRAW = np.random.default_rng(7)


@pytest.fixture
def store() -> Any:
    with kist.open(":memory:") as opened:
        yield opened


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut even small arrays into many parts."""
    monkeypatch.setattr(computed, "PART_BYTES", 256)
    monkeypatch.setattr(computed, "CHUNK_BYTES", 2048)


def fill(store: Any) -> dict[str, np.ndarray]:
    x = DRAW.normal(size=(7, 11, 5))
    y = DRAW.integers(-5, 6, (7, 11, 5)).astype("i4")
    z = DRAW.normal(size=(11, 1)).astype("f4")
    store.create_array("x", x, chunks=(3, 4, 5))
    store.create_array("y", y, chunks=(2, 11, 2), codec="none")
    store["z"] = z
    return {"x": x, "y": y, "z": z}


EXPRESSIONS = {
    "x*y + sin(x)": lambda x, y, z: x * y + np.sin(x),
    "x + z": lambda x, y, z: x + z,
    "z * 2": lambda x, y, z: z * 2,
    "where(x > 0, y, -y)": lambda x, y, z: np.where(x > 0, y, -y),
    "(x > 0) & (y != 2) | (z < 0)": lambda x, y, z: (x > 0) & (y != 2) | (z < 0),
    "y // 2 + y % 3": lambda x, y, z: y // 2 + y % 3,
    "y": lambda x, y, z: y,
    "y * 1.5": lambda x, y, z: y * 1.5,
    "isin(y, [1, 2])": lambda x, y, z: np.isin(y, [1, 2]),
    "(x - mean(x)) / std(x)": lambda x, y, z: (x - x.mean()) / x.std(),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_those_of_numpy_wherever_the_values_come_from(
    store: Any, small_parts: None, text: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "n_threads", threads)
    arrays = fill(store)
    wanted = EXPRESSIONS[text](**arrays)
    for operands in (arrays, {name: store[name] for name in arrays}, {**arrays, "x": store["x"]}):
        found = kist.evaluate(text, **operands)
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


FUNCTIONS = ["sum", "prod", "mean", "min", "max", "any", "all", "std", "var"]


@pytest.mark.filterwarnings("ignore:Mean of empty", "ignore:invalid value", "ignore:Degrees")
@settings(max_examples=60)
@given(
    st.sampled_from(FUNCTIONS),
    st.sampled_from(["f8", "f4", "i2", "u1", "?"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple),
    st.data(),
)
def test_reductions_are_those_of_numpy(
    func: str, dtype: str, shape: tuple[int, ...], data: Any
) -> None:
    axes = st.integers(-len(shape), len(shape) - 1)
    axis = data.draw(
        st.one_of(
            st.none(), axes, st.sets(axes.map(lambda k: k % len(shape)), min_size=1).map(tuple)
        )
    )
    x = DRAW.integers(0, 4, shape).astype(dtype)
    before = computed.PART_BYTES
    computed.PART_BYTES = data.draw(st.sampled_from([1, 16, 1 << 20]))  # type: ignore[misc]
    try:
        with np.errstate(all="ignore"):
            wanted = getattr(np, func)(x, axis=axis)
    except ValueError:
        with pytest.raises(ValueError, match="no values"):
            kist.evaluate(f"{func}(x, axis={axis})", x=x)
    else:
        found = kist.evaluate(f"{func}(x, axis={axis})", x=x)
        assert np.shape(found) == np.shape(wanted) and found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-3 if wanted.dtype == "f2" else 1e-6)
    finally:
        computed.PART_BYTES = before  # type: ignore[misc]


def test_reductions_of_nothing_and_with_ddof(store: Any) -> None:
    x = DRAW.normal(size=(4, 3))
    assert kist.evaluate("sum(x)", x=x[:0]) == 0.0
    assert math.isnan(kist.evaluate("mean(x)", x=x[:0]))
    assert np.isnan(kist.evaluate("mean(x, axis=0)", x=x[:0])).tolist() == [True] * 3
    for func in ("std", "var"):
        found = kist.evaluate(f"{func}(x, axis=1, ddof=1)", x=x)
        np.testing.assert_allclose(found, getattr(np, func)(x, axis=1, ddof=1))
    x[1] = np.inf
    assert np.array_equal(kist.evaluate("mean(x, 0)", x=x), x.mean(axis=0))
    x[2] = np.nan
    assert math.isnan(kist.evaluate("max(x)", x=x)) and math.isnan(kist.evaluate("sum(x)", x=x))


def test_a_variance_does_not_cancel(small_parts: None) -> None:
    x = 1e9 + DRAW.normal(size=5000)
    np.testing.assert_allclose(kist.evaluate("var(x)", x=x), np.var(x - 1e9), rtol=1e-6)


def test_integers_are_added_and_multiplied_exactly_or_not_at_all(small_parts: None) -> None:
    large = np.full(300, 2**61)
    for text in ("sum(x)", "prod(x)"):
        with pytest.raises(kist.QueryError, match="does not fit int64"):
            kist.evaluate(text, x=large)
    assert kist.evaluate("sum(float64(x))", x=large) == 300 * 2.0**61
    alternating = np.tile([2**62, -(2**62)], 100)
    assert kist.evaluate("sum(x)", x=alternating) == 0
    assert kist.evaluate("sum(x)", x=np.full(1000, 255, "u1")) == 255_000


def test_columns_are_operands(store: Any) -> None:
    dtype = np.dtype([("a", "i4"), ("b", "f8", (3,)), ("s", "S3"), ("t", "M8[s]")])
    rows = np.zeros(1000, dtype)
    rows["a"], rows["b"] = np.arange(1000), DRAW.normal(size=(1000, 3))
    rows["s"] = [b"abc", b"x"] * 500
    rows["t"] = np.arange(1000) * 86_400
    store["t"] = rows
    t = store["t"]
    t.delete(slice(10, 20))
    rows = np.delete(rows, np.s_[10:20])
    assert np.array_equal(kist.evaluate(t["a"] * 2 + 1), rows["a"] * 2 + 1)
    assert np.array_equal(kist.evaluate("b * 2", b=t["b"]), rows["b"] * 2)
    assert np.array_equal(kist.evaluate("sum(b, axis=0)", b=t["b"]), rows["b"].sum(axis=0))
    assert kist.evaluate("sum(s == 'abc')", s=t["s"]) == (rows["s"] == b"abc").sum()
    assert kist.evaluate("max(year(t))", t=t["t"]) == 1972
    assert np.array_equal(kist.evaluate("a - c", a=t["a"], c=rows["a"]), np.zeros(990, "i4"))


def test_operators_of_arrays_build_expressions(store: Any) -> None:
    arrays = fill(store)
    x, y = store["x"], store["y"]
    for built, wanted in (
        (x * 2 + y > 1, arrays["x"] * 2 + arrays["y"] > 1),
        (2 - x, 2 - arrays["x"]),
        (np.float64(2) / x, 2 / arrays["x"]),
        (~(x > 0) | (y == 2), ~(arrays["x"] > 0) | (arrays["y"] == 2)),
        (abs(-y) ** 2 % 3, abs(-arrays["y"]) ** 2 % 3),
        (kist.expr("a * 2") + 1, arrays["x"] * 2 + 1),
    ):
        assert np.array_equal(kist.evaluate(built, a=x), wanted)
    assert np.array_equal(kist.evaluate("sum(e)", e=x * y), np.sum(arrays["x"] * arrays["y"]))
    # Beside arrays in memory NumPy computes, as for its own functions.
    for found, wanted in (
        (x * arrays["x"], arrays["x"] ** 2),
        (arrays["x"] - x, 0 * arrays["x"]),
        (x == arrays["x"], arrays["x"] == arrays["x"]),
        (np.sqrt(y * arrays["y"]), abs(arrays["y"])),
    ):
        assert isinstance(found, np.ndarray) and np.array_equal(found, wanted)
    assert x == store["x"] and x != y and hash(x) == hash(store["x"])
    with pytest.raises(TypeError, match="out=array"):
        x += 1


def test_results_go_into_arrays_in_memory_and_in_stores(store: Any, small_parts: None) -> None:
    arrays = fill(store)
    x = store["x"]
    wanted = arrays["x"] * 2
    made = kist.evaluate("x * 2", x=x, out=(store, "g/doubled"))
    assert made == store["g/doubled"] and np.array_equal(made[:], wanted)
    out = np.empty((7, 11, 10), "f4")[..., ::2]
    assert kist.evaluate("x * 2", x=x, out=out) is out
    np.testing.assert_allclose(out, wanted, rtol=1e-6)
    assert kist.evaluate("x * 2", x=x, out=x) is x
    assert np.array_equal(x[:], wanted)
    with store.transaction():
        x[0] = 1
        kist.evaluate("x + 1", x=x, out=x)
        assert np.array_equal(x[0], np.full((11, 5), 2.0))
    assert np.array_equal(x[1:], wanted[1:] + 1)
    total = kist.evaluate("sum(x, axis=(0, 1))", x=arrays["x"], out=(store, "total"))
    np.testing.assert_allclose(total[:], arrays["x"].sum(axis=(0, 1)))
    assert kist.evaluate("2 * x", x=3, out=(store, "six"))[()] == 6


def test_bad_operands_and_places_raise_and_change_nothing(store: Any) -> None:
    arrays = fill(store)
    x = store["x"]
    store["rec"] = np.zeros(3, [("a", "i4")])
    store["ints"] = np.zeros(x.shape, "i2")
    for call, error, match in (
        (lambda: kist.evaluate("x + q", x=x), kist.QueryError, "unknown name 'q'"),
        (lambda: kist.evaluate("xx + 1", x=x), kist.QueryError, "did you mean 'x'"),
        (lambda: kist.evaluate("x + y", x=x, y=np.zeros(3)), kist.ShapeError, "go together"),
        (lambda: kist.evaluate("x + 'a'", x=x), kist.QueryError, "takes numbers"),
        (lambda: kist.evaluate("x", x=store["rec"][:]), kist.QueryError, "no arithmetic"),
        (lambda: kist.evaluate("x", x=store["rec"]), kist.QueryError, "no arithmetic"),
        (lambda: kist.evaluate("x", x=np.array([None])), kist.QueryError, "no arithmetic"),
        (lambda: kist.evaluate(5), kist.QueryError, "takes an expression"),
        (lambda: kist.evaluate(x[:]), kist.QueryError, "takes"),
        (lambda: kist.evaluate("sum(x, axis=3)", x=x), kist.QueryError, "no axis 3"),
        (lambda: kist.evaluate("sum(x, axis=(0, -3))", x=x), kist.QueryError, "named twice"),
        (lambda: kist.evaluate("sum(x, axis=a)", x=x), kist.QueryError, "axis of sum"),
        (lambda: kist.evaluate("sum(x, axis=1.5)", x=x), kist.QueryError, "is an int"),
        (lambda: kist.evaluate("sum(x, dtype='f4')", x=x), kist.QueryError, "axis"),
        (lambda: kist.evaluate("1 + sum(x, axis=0)", x=x), kist.QueryError, "leave axis out"),
        (lambda: kist.evaluate("x", x=x, out=np.zeros(3)), kist.ShapeError, "out has shape"),
        (lambda: kist.evaluate("x", x=x, out=store["z"]), kist.ShapeError, "out has shape"),
        (lambda: kist.evaluate("x", x=x, out=np.zeros(x.shape, "i4")), kist.DTypeError, "cannot"),
        (lambda: kist.evaluate("x", x=x, out=store["ints"]), kist.DTypeError, "fraction"),
        (lambda: kist.evaluate("x", x=x, out="name"), kist.QueryError, "out is"),
        (lambda: kist.evaluate("x", x=x, out=(store, "z")), kist.NodeExistsError, "z"),
        (lambda: kist.evaluate("u - 1", u=np.zeros(3, "u1")), kist.QueryError, "does not fit"),
        (lambda: kist.evaluate("year(t)", t=np.array(["NaT"], "M8[s]")), kist.QueryError, "null"),
    ):
        with pytest.raises(error, match=match):
            call()
    assert np.array_equal(x[:], arrays["x"]) and not store["ints"][:].any()


def test_an_error_in_the_last_part_leaves_the_stored_array_as_it_was(
    store: Any, small_parts: None
) -> None:
    x = np.arange(5000)
    x[-1] = 2**62
    store["x"] = x
    with pytest.raises(kist.QueryError, match="does not fit"):
        kist.evaluate("x * 4", x=store["x"], out=store["x"])
    assert np.array_equal(store["x"][:], x)
    with pytest.raises(kist.QueryError, match="does not fit"):
        kist.evaluate("x * 4", x=store["x"], out=(store, "new"))
    assert "new" not in store


def test_no_more_than_asked_for_is_loaded(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = store.create_array("x", shape=(40, 512, 512), dtype="f8", fill_value=1.5)
    monkeypatch.setattr(options, "max_load", 1 << 20)
    with pytest.raises(kist.TooLargeError, match="out="):
        kist.evaluate("x + 1", x=x)
    monkeypatch.setattr(options, "n_threads", 2)
    tracemalloc.start()
    try:
        assert kist.evaluate("sum(x * 2)", x=x) == x.size * 3.0
        assert kist.evaluate("max(x, axis=(1, 2))", x=x).tolist() == [1.5] * 40
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes // 2


def test_all_operands_show_one_state(tmp_path: Any) -> None:
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        store["x"], store["y"] = np.zeros(10), np.zeros(10)

        class Changing:
            shape, dtype = (10,), np.dtype("f8")

            def __getitem__(self, where: Any) -> np.ndarray:
                store["y"][...] = 7
                return np.zeros(10)[where]

        assert kist.evaluate("c + x + y", c=Changing(), x=store["x"], y=store["y"]).sum() == 0
        assert store["y"][0] == 7


def test_a_commit_between_two_operands_is_seen_by_neither(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"], store["y"] = np.zeros(10), np.zeros(10)
        given = reading.array_state

        def changing(*args: Any) -> Any:
            if not store["y"][0]:
                store["y"][...] = 7
            return given(*args)

        x, y = store["x"], store["y"]
        monkeypatch.setattr(reading, "array_state", changing)
        assert kist.evaluate("x + y", x=x, y=y).sum() == 0
        assert y[0] == 7


def test_other_things_that_can_be_sliced_are_operands() -> None:
    class Slices:
        def __init__(self, values: np.ndarray) -> None:
            self.values, self.shape, self.dtype = values, values.shape, values.dtype

        def __getitem__(self, where: Any) -> np.ndarray:
            return self.values[where]

    x = DRAW.normal(size=(5, 6))
    assert np.array_equal(
        kist.evaluate("x + y", x=Slices(x), y=[1, 2, 3, 4, 5, 6]), x + range(1, 7)
    )
    assert kist.evaluate("x in y", x=np.arange(3), y=[1, 5]).tolist() == [False, True, False]
