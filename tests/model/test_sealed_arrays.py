"""Arrays that are sealed as a whole: all that arrays do, with the secret; and what is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

import kist
from kist.errors import (
    CodecError,
    DTypeError,
    SecretError,
    TamperedDataError,
    WrongSecretError,
)

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def cube() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 500, (70, 60, 9))


@pytest.fixture
def file(path: Path) -> Path:
    with kist.open(path, "w") as store:
        store.create_array("raw/images", cube(), chunks=(32, 32, 9), fill_value=7, encrypt=KEY)
        store["open"] = np.arange(3)
    return path


def test_without_the_secret_it_is_listed_and_not_read(file: Path) -> None:
    with kist.open(file) as store:
        images = store["raw/images"]
        assert images.shape == (70, 60, 9) and images.dtype == "i8" and images.sealed == ("1",)
        for read in (
            lambda: images[0],
            lambda: images[0:0],
            lambda: images[[0, 3], 1],
            lambda: images.fill_value,
            lambda: np.asarray(images),
            lambda: list(images.blocks()),
            lambda: images.read(errors="mask"),
            lambda: kist.evaluate("images + 1", images=images),
        ):
            with pytest.raises(SecretError, match="'/raw/images' is sealed, and no secret"):
                read()
        assert "no secret given" in repr(images) and "sealed" in images._repr_html_()
        assert images.info.sealed == ["1"] and "fill_value" not in images.info.to_dict()
        assert store["open"].sealed == () and "sealed" not in store["open"].info.to_dict()
        assert store["open"][:].tolist() == [0, 1, 2]
        report = store.check()
        assert report.ok and any("tags were not checked" in note for note in report.notes)


def test_without_the_secret_it_is_not_changed(file: Path) -> None:
    with kist.open(file, "r+") as store:
        images = store["raw/images"]
        for change in (
            lambda: images.__setitem__(0, 1),
            lambda: images.append(cube()[:1]),
            lambda: images.resize((3, 3, 3)),
            lambda: images.add_secret(OTHER),
            lambda: images.remove_secret("1"),
            lambda: images.rotate(),
            lambda: store.copy("raw/images", "copy"),
            lambda: store.__setitem__("raw/images", [1]),
            lambda: store.create_array("raw/images", [1], overwrite=True),
            lambda: store.require_array("open", (3,), "i8", encrypt=KEY),
        ):
            before = store.commit_id
            with pytest.raises(SecretError):
                change()
            assert store.commit_id == before
        # What needs no secret.
        store.move("raw/images", "images")
        store.compact()
        store.backup(file.with_suffix(".copy"))
        assert store.check()
        with kist.open(file.with_suffix(".copy"), secrets={"images": KEY}) as copy:
            np.testing.assert_array_equal(copy["images"][:], cube())
        del store["images"]


def test_wrong_secrets_open_nothing_and_secrets_by_path_open_one(file: Path) -> None:
    for secrets in (OTHER, [OTHER], {"raw/images": OTHER}):
        with kist.open(file, secrets=secrets) as store, pytest.raises(WrongSecretError):
            store["raw/images"][0]
    with kist.open(file, secrets={"raw/other": KEY}) as store, pytest.raises(SecretError):
        store["raw/images"][0]
    for secrets in (KEY, [OTHER, KEY], {"raw/images": KEY}, {"/raw/images": [OTHER, KEY]}):
        with kist.open(file, secrets=secrets) as store:
            np.testing.assert_array_equal(store["raw/images"][:], cube())
    with (
        kist.open(file, secrets={"open": KEY}) as store,
        pytest.raises(TamperedDataError, match="'/open' is not sealed"),
    ):
        store["open"][:]


def test_indexing_evaluation_and_versions_work_with_the_secret(file: Path) -> None:
    expected = cube()
    with kist.open(file, "r+", secrets=KEY) as store:
        images = store["raw/images"]
        for key in (..., 5, np.s_[3:60:7, ::-2, 4], ([1, 50, 3], [2, 2, 0]), expected > 490):
            np.testing.assert_array_equal(images[key], expected[key])
        doubled = kist.evaluate("images * 2", images=images)
        np.testing.assert_array_equal(np.asarray(doubled), expected * 2)
        store.tag("before")
        images[0] = -1
        assert (images[0] == -1).all() and images.read(errors="mask").mask.sum() == 0
        with pytest.raises(CodecError, match="sealed"):
            images.mmap()
        with kist.open(file, version="before", secrets=KEY) as old:
            np.testing.assert_array_equal(old["raw/images"][:], expected)
        union = store.union("raw/*")
        assert union[1, 0, 0] == expected[1, 0, 0]


def test_a_rollback_leaves_values_and_manifest_of_before(file: Path) -> None:
    expected = cube()
    with kist.open(file, "r+", secrets=KEY) as store:
        images = store["raw/images"]
        with pytest.raises(KeyError), store.transaction():
            images[0] = 1
            raise KeyError
        np.testing.assert_array_equal(images[:], expected)
        with store.transaction():
            images[1] = expected[1] = 1
            with pytest.raises(KeyError), store.transaction():
                images[2] = 1
                images.resize((1, 1, 1))
                raise KeyError
            for at in range(30):
                images[at, at] = expected[at, at] = at
            np.testing.assert_array_equal(images[:], expected)
        np.testing.assert_array_equal(images[:], expected)
    with kist.open(file, secrets=KEY) as store:
        np.testing.assert_array_equal(store["raw/images"][:], expected)
        assert store.check() and not store.check().notes


@pytest.mark.parametrize("dtype", ["i2", "M8[s]", "S5", "T", [("a", "i4"), ("b", "f8")], "V0"])
def test_any_dtype_and_a_small_value_come_back(path: Path, dtype: Any) -> None:
    values = np.zeros(5, np.dtypes.StringDType() if dtype == "T" else dtype)
    if dtype == "T":
        values[:] = ["a", "", "word", "b" * 2_000, "c"]
    elif dtype != "V0":
        values[1:3] = np.ones(2, "i2").astype(values.dtype)
    with kist.open(path, "w") as store:
        store.create_array("x", values, encrypt=KEY)
        store.create_array("scalar", 3.5, encrypt=KEY)
        store.create_array("empty", shape=(0, 3), dtype="i4", encrypt=KEY)
        store.require_array("made", (2,), "i4", fill_value=9, encrypt=KEY)
    with kist.open(path, "r+", secrets=KEY) as store:
        np.testing.assert_array_equal(store["x"][:], values)
        assert store["scalar"][()] == 3.5 and store["empty"].append(np.ones((2, 3), "i4")) == 2
        assert store["made"][:].tolist() == [9, 9] and store["made"].sealed == ("1",)
        assert store["empty"][:].sum() == 6 and store.check().ok and not store.check().notes


def test_secrets_are_added_removed_and_rotated(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        images = store["raw/images"]
        assert images.add_secret(OTHER, label="other") == "other"
        assert images.sealed == ("1", "other")
        images.remove_secret("1")
        images[0] = 5
    with kist.open(file, secrets=KEY) as store, pytest.raises(WrongSecretError):
        store["raw/images"][0]
    before = {}
    with kist.open(file, "r+", secrets=OTHER) as store:
        images = store["raw/images"]
        images.rotate()
        assert (images[0] == 5).all()
        for key, value in store._view().scan(*kist.format.keys.segments(images._id)):
            before[key] = value
        images.rotate({"new": KEY}, now=True)
        assert images.sealed == ("new",)
        np.testing.assert_array_equal(images[1:], cube()[1:])
        after = dict(store._view().scan(*kist.format.keys.segments(images._id)))
        assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
        assert len(kist.format.sealed.Lock.unpack(lock_of(store, images)).names) == 1
        with pytest.raises(DTypeError, match="not sealed"):
            store["open"].rotate()
    with kist.open(file, secrets=KEY) as store:
        np.testing.assert_array_equal(store["raw/images"][1:], cube()[1:])
        assert store.check().ok


def lock_of(store: Any, node: Any) -> bytes:
    value = store._view().get(kist.format.keys.lock(node._id, 1))
    return kist.format.values.unpack_record(value)[1]


def test_a_copy_has_the_same_bodies_and_opens_with_the_same_secret(
    file: Path, tmp_path: Path
) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        store.copy("raw/images", "copy")
        one, other = (
            [value[1 + 44 * value[0] :] for _, value in store._view().scan(*span)]
            for span in (
                kist.format.keys.segments(store[name]._id) for name in ("raw/images", "copy")
            )
        )
        assert one == other
        with kist.open(tmp_path / "o.kist", "w") as target:
            target.copy(store["raw/images"], "there")
            np.testing.assert_array_equal(target["there"][:], cube())
    for path, name in ((file, "copy"), (tmp_path / "o.kist", "there")):
        with kist.open(path, secrets={name: KEY}) as store:
            np.testing.assert_array_equal(store[name][:], cube())


def test_secrets_are_in_no_pickle_repr_or_traceback(file: Path) -> None:
    with kist.open(file, "r+", secrets=KEY) as store:
        images = store["raw/images"]
        images[0] = 1
        data = pickle.dumps(images)
        assert KEY not in data and KEY.hex() not in repr(vars(images)) + repr(images)
        field = images._field(store._view())
        assert KEY.hex() not in repr(field) and "hidden" in repr(field.more)
    with pytest.raises(SecretError):
        pickle.loads(data)[0]


def test_encrypt_takes_secrets_and_refuses_all_else(path: Path) -> None:
    with kist.open(path, "w") as store:
        for given in ("", b"short", {}, [], 3, {"": KEY}):
            with pytest.raises(SecretError):
                store.create_array("x", [1], encrypt=given)
            assert "x" not in store
        store.create_array("x", [1], encrypt={"a": KEY, "b": OTHER})
        assert store["x"].sealed == ("a", "b")
        store.create_array("x", [2], encrypt=OTHER, overwrite=True)
        assert store["x"].sealed == ("1",) and store["x"][0] == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_and_both_write_with_salts_of_their_own(file: Path) -> None:
    store = kist.open(file, "r+", secrets=KEY)
    images = store["raw/images"]
    assert images[1, 1, 1] == cube()[1, 1, 1]
    pid = os.fork()
    if pid == 0:
        try:
            with kist.open(file, "r+", secrets=KEY) as own:
                own["raw/images"][0] = 1
            os._exit(0 if images[1, 1, 1] == cube()[1, 1, 1] else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    images[5] = 2
    assert (images[0] == 1).all() and (images[5] == 2).all()
    store.close()


def test_other_formats_are_refused_unless_asked(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.npy"
    for options in ({}, {"secrets": KEY}, {"decrypt": True}):
        with pytest.raises(SecretError):
            kist.convert(f"{file}:raw/images", str(target), **options)
        assert not target.exists()
    kist.convert(f"{file}:raw/images", str(target), secrets=KEY, decrypt=True)
    np.testing.assert_array_equal(np.load(target), cube())


def test_salvage_names_it_among_what_is_lost(file: Path, tmp_path: Path) -> None:
    report = kist.salvage(file, tmp_path / "s.kist")
    assert any("sealed" in repr(loss) for loss in report.losses)
    with kist.open(tmp_path / "s.kist") as store:
        assert "raw/images" not in store and store["open"][:].tolist() == [0, 1, 2]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 30), st.integers(0, 30), st.integers(0, 9)),
        st.tuples(st.just("append"), st.integers(1, 6), st.integers(0, 9)),
        st.tuples(st.just("resize"), st.integers(0, 25), st.integers(1, 8)),
        st.tuples(st.just("points"), st.integers(0, 30), st.integers(0, 9)),
        st.tuples(st.just("rotate"), st.booleans()),
    ),
    max_size=8,
)


@given(STEPS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_program_leaves_what_numpy_does(steps: list[Any]) -> None:
    expected = np.full((10, 5), 3, "i4")
    with kist.open(":memory:") as store:
        x = store.create_array(
            "x", shape=(10, 5), dtype="i4", chunks=(4, 3), fill_value=3, encrypt=KEY
        )
        for kind, *numbers in steps:
            if kind == "set":
                a, b, value = numbers
                x[a : a + b] = value
                expected[a : a + b] = value
            elif kind == "append":
                n, value = numbers
                rows = np.full((n, expected.shape[1]), value, "i4")
                x.append(rows)
                expected = np.concatenate([expected, rows])
            elif kind == "resize":
                grown = np.full(numbers, 3, "i4")
                kept = tuple(map(slice, map(min, expected.shape, numbers)))
                grown[kept] = expected[kept]
                x.resize(tuple(numbers))
                expected = grown
            elif kind == "points" and len(expected):
                rows_ = [numbers[0] % len(expected), 0]
                x[rows_, 0] = numbers[1]
                expected[rows_, 0] = numbers[1]
            elif kind == "rotate":
                x.rotate(now=numbers[0])
            np.testing.assert_array_equal(x[...], expected)
        assert store.check().ok
