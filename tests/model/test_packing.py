"""`kist.pack` and packed streams: what comes back is what went in, and damage is told."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kist
from kist.engine.parallel import run
from kist.errors import (
    CodecError,
    ConversionError,
    CorruptDataError,
    DTypeError,
    KistError,
    NotAStoreError,
    TooLargeError,
    UnsupportedVersionError,
)
from kist.format.checksum import sum64
from kist.format.layout import PACKED_HEAD, PACKED_RECORD
from kist.format.plain import pack_value
from kist.model.packing import pack_stream, plain_dtype, unpack_stream

ARRAYS = hnp.arrays(
    st.sampled_from(["f8", ">i4", "S3", "M8[s]", "?"]), hnp.array_shapes(max_side=200)
)
VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.binary(max_size=9) | st.text(max_size=9) | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
DTYPES = [
    "f8", "<f4", ">f8", "f2", "i1", "u2", ">i4", "u8", "?", "c8", "c16", "M8[ms]", "m8[D]", "S7",
    "U3", "V300", "i4,f8,S3", "longdouble",
]  # fmt: skip

# Version 1, as it was first written: what exists must be read for ever.
OLD_STREAM = bytes.fromhex(
    "894b5041434b0d0a010100000000000042a209327d68d6e450414745320000004a0000000000000000000000"
    "00000000180000007c7531000000000000000000a1f28ecb85817fddbddaa4c50f5da61b67702fb6057d89d9"
    "4b50010118000000000000001800000001000000010000000100000010000000000018000000000000004720"
    "f053621a0a0c7061636b65647061636b65647061636b65647061636b6564444f4e4500000000000000000000"
    "00001800000000000000000000000000000000000000000000007f498d4624c30160d8984701d306aa992f25"
    "9fc1e14ae269"
)
OLD_VALUE = bytes.fromhex(
    "894b5041434b0d0a0102000000000000d1e0e7768f0967f456414c5540000000400000000000000000000000"
    "0000000000000000000000000000000000000000acdfe366083650e49855872793b85f15eca6515c029dd2c9"
    "4b5601000000000012000000140206016e0301070604756e697406026d6d0000000000000000000000000000"
    "0000000000000000000000000000000000000000"
)


def packed(data: bytes, **options: Any) -> bytes:
    target = io.BytesIO()
    pack_stream(io.BytesIO(data), target, **options)
    return target.getvalue()


def unpacked(data: bytes) -> bytes:
    target = io.BytesIO()
    unpack_stream(io.BytesIO(data), target)
    return target.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype.hasobject)
    return file.getvalue()


# Values


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_values_come_back_with_their_types_and_bits(value: Any) -> None:
    data = kist.pack(value)
    assert pack_value(kist.unpack(data)) == pack_value(value)
    assert kist.pack(value) == data
    assert pack_value(kist.unpack(memoryview(bytearray(data)))) == pack_value(value)


@pytest.mark.parametrize("codec", ["fast", "balanced", "small", "none", "zstd+shuffle"])
def test_large_values_are_compressed_with_any_codec(codec: str) -> None:
    value = {
        "steps": np.arange(1_000_000) // 7,
        "text": "long " * 100_000,
        "strings": np.array(["a", "bb"] * 5000, np.dtypes.StringDType()),
    }
    data = kist.pack(value, codec)
    back = kist.unpack(data)
    assert np.array_equal(back["steps"], value["steps"]) and back["text"] == value["text"]
    assert np.array_equal(back["strings"], value["strings"])
    assert codec == "none" or len(data) < 1_000_000


def test_what_cannot_be_packed_or_unpacked_raises() -> None:
    with pytest.raises(DTypeError):
        kist.pack(object())
    with pytest.raises(CodecError):
        kist.pack(np.arange(5000), codec="nonsense")
    for data in (b"", b"abc", npy(np.arange(3))):
        with pytest.raises(NotAStoreError):
            kist.unpack(data)
    newer = bytearray(kist.pack(1))
    newer[8] = 9
    newer[16:24] = sum64(bytes(newer[:16])).to_bytes(8, "little")
    with pytest.raises(UnsupportedVersionError):
        kist.unpack(bytes(newer))


@pytest.mark.parametrize("value", [7, {"x": np.arange(3000.0), "t": "x" * 9000}])
def test_every_flipped_byte_and_every_cut_of_a_value_is_found(value: Any) -> None:
    data = kist.pack(value)
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 1 << (at % 8)
        try:
            back = kist.unpack(bytes(bad))
        except KistError:
            continue
        # Zeros between pages are covered by no sum, and mean nothing.
        assert pack_value(back) == pack_value(value) and data[at] == 0
    for at in range(0, len(data), 7):
        with pytest.raises(KistError):
            kist.unpack(data[:at])
    with pytest.raises(CorruptDataError):
        kist.unpack(data + b"x")


# Streams


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([None, "f8", "<u2", ">f4", "V7", "?"]))
def test_any_bytes_come_back(data: bytes, dtype: str | None) -> None:
    assert unpacked(packed(data, dtype=dtype)) == data == kist.unpack(packed(data, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codec", ["fast", "balanced", "small"])
def test_npy_files_come_back_bit_by_bit(dtype: str, codec: str) -> None:
    """Random bits: NaNs with payloads, booleans that are none, text that is none."""
    size = np.dtype(dtype).itemsize
    rng = np.random.default_rng(5)
    for values in (
        np.frombuffer(rng.bytes(40_000 * size), dtype),
        (np.arange(40_000) % 90).astype(f"V{size}" if dtype == "V300" else "u1").view("u1"),
    ):
        data = npy(values.reshape(-1, 40) if values.size % 40 == 0 else values)
        assert unpacked(packed(data, codec=codec)) == data


def test_values_of_npy_files_are_divided_by_their_dtype() -> None:
    data = npy(np.arange(200_000.0).reshape(100, -1))
    report = pack_stream(io.BytesIO(data), io.BytesIO())
    assert report.dtype == "<f8" and report.nbytes == len(data) and report.ratio > 3
    assert report.nbytes_packed < len(packed(data, dtype="u1"))
    assert plain_dtype("c16") == "f8" and plain_dtype("U4") == "u4" and plain_dtype("?") == "u1"
    for bad in ("O", "nonsense", "S0"):
        with pytest.raises(ConversionError):
            plain_dtype(bad)
    objects = npy(np.array([{}, None], object))  # its pickle is bytes like others
    assert unpacked(packed(objects)) == objects
    assert unpacked(packed(data[:90])) == data[:90]


class Dripping(io.RawIOBase):
    """A pipe that gives few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, n: int = -1) -> bytes:
        return self._file.read(min(n, 1000))


def test_pipes_may_give_little_at_a_time() -> None:
    data = npy(np.arange(100_001, dtype="i4"))
    target, back = io.BytesIO(), io.BytesIO()
    pack_stream(Dripping(data), target)
    unpack_stream(Dripping(target.getvalue()), back)
    assert back.getvalue() == data and target.getvalue() == packed(data)


def test_memory_is_bounded() -> None:
    class Zeros(io.RawIOBase):
        left = 400 << 20

        def read(self, n: int = -1) -> bytes:
            n = min(n, self.left)
            self.left -= n
            return bytes(n)

    class Counter(io.RawIOBase):
        total = 0

        def write(self, data: Any) -> int:
            self.total += len(data)
            return len(data)

    target = io.BytesIO()
    before = kist.options.n_threads
    kist.options.n_threads = 2
    tracemalloc.start()
    try:
        pack_stream(Zeros(), target)
        back = Counter()
        target.seek(0)
        unpack_stream(target, back)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        kist.options.n_threads = before
    assert back.total == 400 << 20
    assert peak < 100 << 20


def test_every_flipped_byte_and_every_cut_of_a_stream_is_found() -> None:
    data = npy(np.arange(500.0) ** 2)
    good = packed(data)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << (at % 8)
        target = io.BytesIO()
        with pytest.raises(KistError):
            unpack_stream(io.BytesIO(bad), target)
        assert data.startswith(target.getvalue())
    for at in range(0, len(good), 5):
        with pytest.raises(KistError):
            unpacked(good[:at])
    with pytest.raises(CorruptDataError, match="behind their end"):
        unpacked(good + b"x")


def test_records_that_are_lost_moved_or_of_another_kind_are_found() -> None:
    good = packed(np.random.default_rng(0).bytes(10 << 20))
    at, places = PACKED_HEAD.size, []
    while at < len(good):
        places.append(at)
        at += PACKED_RECORD.size + PACKED_RECORD.unpack(good, at)["length"]
    a, b, c, *_ = places
    for bad in (
        good[:a] + good[b:],
        good[:a] + good[b:c] + good[a:b] + good[c:],
        good[:b] + good[a:],
        good[: places[-1]],
    ):
        with pytest.raises(CorruptDataError):
            unpacked(bad)
    value = kist.pack(1)
    with pytest.raises(ConversionError, match=r"kist\.unpack"):
        unpacked(value)
    with pytest.raises(CorruptDataError, match="a value in a stream"):
        unpacked(good[:a] + value[a:])


def test_few_bytes_cannot_claim_more_memory_than_allowed() -> None:
    data = packed(bytes(64 << 20))
    assert len(data) < 100_000
    before = kist.options.max_load
    kist.options.max_load = 10 << 20
    try:
        with pytest.raises(TooLargeError):
            kist.unpack(data)
        with pytest.raises(TooLargeError):
            kist.unpack(kist.pack(np.zeros(16 << 20, "u1")))
    finally:
        kist.options.max_load = before
    at = PACKED_HEAD.size
    place = at + PACKED_RECORD.offset("n_values")
    forged = bytearray(data)
    forged[place : place + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    end = at + PACKED_RECORD.offset("sum")
    forged[end : end + 8] = sum64(bytes(forged[at:end])).to_bytes(8, "little")
    with pytest.raises(CorruptDataError, match="does not add up"):
        unpacked(bytes(forged))


def test_data_of_version_1_are_read_for_ever() -> None:
    assert kist.unpack(OLD_VALUE) == {"n": 7, "unit": "mm"}
    assert unpacked(OLD_STREAM) == b"packed" * 4


# Threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = kist.options.n_threads
    kist.options.n_threads = 2
    yield
    kist.options.n_threads = before


@pytest.mark.usefixtures("two_threads")
def test_a_file_is_packed_as_its_bytes_in_memory_are(tmp_path: Path) -> None:
    """Files are read into memory that is used again; some blocks show it until they are written."""
    rng = np.random.default_rng(3)
    data = npy(rng.integers(0, 1 << 63, 3_700_001)) + b"rest"
    (tmp_path / "x.npy").write_bytes(data)
    for codec in ("none", "lz4"):
        with open(tmp_path / "x.npy", "rb", buffering=0) as source:
            target = io.BytesIO()
            told: list[int] = []
            report = pack_stream(source, target, codec, progress=told.append)
        assert unpacked(target.getvalue()) == data and report.nbytes == len(data)
        assert target.getvalue() == packed(data, codec=codec)
        assert told == sorted(told) and told[-1] == len(data)


@pytest.mark.usefixtures("two_threads")
def test_a_target_that_refuses_ends_the_work() -> None:
    class Full(io.RawIOBase):
        room = 9 << 20

        def write(self, data: Any) -> int:
            self.room -= len(data)
            if self.room < 0:
                raise OSError(28, "No space left on device")
            return len(data)

    class Endless(io.RawIOBase):
        given = 0

        def read(self, n: int = -1) -> bytes:
            self.given += n
            return rng.bytes(n)

    rng = np.random.default_rng(1)
    source = Endless()
    with pytest.raises(OSError, match="No space"):
        pack_stream(source, Full(), "none")
    assert source.given < 60 << 20
    assert run([lambda: 1, lambda: 2]) == [1, 2]  # the threads are free again
