"""Pieces: every byte of every row comes back, in few bytes, and damage is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.words import FEW_ROWS
from kist.codecs.rows import MAX_NBYTES, MAX_ROWS, RowsCodec, rows_codec
from kist.errors import CodecError
from kist.testing.strategies import random_array, scalar_dtypes

LENGTHS = st.sampled_from([0, 1, 2, 3, 10, FEW_ROWS - 1, FEW_ROWS, 200])
LEAVES = st.lists(st.tuples(scalar_dtypes(), st.sampled_from([1, 1, 1, 2, 3, 70])), max_size=8)


def trades(n: int, seed: int = 0) -> np.ndarray:
    """Rows as an exchange would send them."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(
        [("time", "M8[ns]"), ("bid", "f8"), ("ask", "f4"), ("id", ">i8"), ("size", "i4"),
         ("flags", "u1"), ("symbol", "S8"), ("noise", "f8"), ("ok", "?")]
    )  # fmt: skip
    rows = np.zeros(n, dtype)
    rows["time"] = 1_700_000_000_000_000_000 + rng.integers(1, 10**6, n).cumsum()
    rows["bid"] = np.round(100 + rng.normal(0, 0.05, n).cumsum(), 2)
    rows["ask"] = np.round(50 + rng.normal(0, 0.05, n).cumsum(), 2)
    rows["id"] = 10**12 + rng.integers(0, 9, n).cumsum()
    rows["size"] = rng.integers(-100, 100, n)
    rows["flags"] = rng.integers(0, 8, n)
    rows["symbol"] = rng.choice([b"AAPL", b"MSFT", b"GOOG"], n)
    rows["noise"] = rng.normal(size=n)
    rows["ok"] = rng.integers(0, 2, n)
    return rows


def codec_of(dtype: np.dtype) -> RowsCodec:
    return RowsCodec([dtype[name] for name in dtype.names])


def check_round_trip(codec: RowsCodec, rows: np.ndarray) -> bytes:
    data = codec.encode(rows)
    assert codec.n_rows(data) == len(rows)
    assert codec.decode_records(data, rows.dtype).tobytes() == rows.tobytes()
    flat = rows.view(codec.dtype) if rows.dtype.itemsize else rows
    columns = codec.decode_columns(data)
    for name, column in zip(codec.dtype.names, columns, strict=True):
        assert column.dtype == flat[name].dtype
        assert column.shape == flat[name].shape
        assert column.tobytes() == flat[name].tobytes()
        assert column.flags.writeable
    return data


@given(LEAVES, LENGTHS, st.integers(0, 2**32 - 1), st.data())
def test_all_bytes_of_every_dtype_come_back(leaves, n, seed, data):
    codec = RowsCodec([dtype for dtype, _ in leaves], [count for _, count in leaves])
    rows = random_array(codec.dtype, n, seed)
    piece = check_round_trip(codec, rows)
    which = data.draw(st.lists(st.integers(0, len(leaves) - 1))) if leaves else []
    for index, column in zip(which, codec.decode_columns(piece, which), strict=True):
        assert column.tobytes() == rows[f"f{index}"].tobytes()


@given(LENGTHS, st.integers(0, 100))
def test_plausible_rows_come_back(n, seed):
    check_round_trip(codec_of(trades(1).dtype), trades(n, seed))


SPECIAL = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7e308, 2**53 + 2.0])


@given(
    st.sampled_from(["<f8", ">f8", "<f4", ">f4", "<c16", "<c8"]),
    st.sampled_from([5, 20, 100, 300]),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), max_size=30),
    st.integers(0, 99),
)
def test_decimals_with_exceptions_keep_their_bits(code, n, digits, holes, seed):
    values = np.round(np.random.default_rng(seed).normal(100, 20, n), digits).astype(code)
    with np.errstate(over="ignore"):
        for place, which in holes:
            values[place % n] = SPECIAL[which]
    rows = np.zeros(n, [("a", code), ("b", "i4"), ("c", code)])
    rows["a"], rows["c"] = values, values[::-1]
    check_round_trip(codec_of(rows.dtype), rows)


def test_a_codec_follows_columns_that_change_their_digits():
    dtype = np.dtype([("a", "f8"), ("b", "f4")])
    codec = codec_of(dtype)
    rng = np.random.default_rng(0)
    sizes = []
    for digits in (2, 2, 4, 15, 0, 1, 3):
        rows = np.zeros(40, dtype)
        rows["a"] = np.round(rng.normal(size=40), digits)
        rows["b"] = np.round(rng.normal(size=40), min(digits, 5))
        sizes.append(len(check_round_trip(codec, rows)))
    assert sizes[2] < sizes[3]
    missing = rows.copy()
    missing["a"] = np.nan
    check_round_trip(codec, missing)
    assert len(check_round_trip(codec, rows)) <= sizes[-1] + 20


def test_columns_of_noise_are_looked_at_again():
    codec = codec_of(np.dtype([("a", "f8")]))
    noise = np.random.default_rng(0).normal(size=50).astype([("a", "f8")])
    prices = np.round(noise["a"], 2).astype([("a", "f8")])
    large = len(codec.encode(noise))
    for _ in range(100):
        small = len(codec.encode(prices))
    assert small < large / 2


def test_small_and_large_batches_are_short():
    rows = trades(1400)
    codec = codec_of(rows.dtype)
    assert rows.dtype.itemsize == 50
    assert len(codec.encode(rows[:10])) < 10 * 45
    assert len(codec.encode(rows)) < 1400 * 22


def test_columns_that_stay_the_same_cost_next_to_nothing():
    rows = np.zeros(1000, [("a", "i8"), ("b", "f8"), ("c", "M8[s]"), ("d", "U5")])
    rows["a"], rows["b"], rows["d"] = -7, 0.1, "same"
    rows["c"] = np.arange(1000)
    assert len(check_round_trip(codec_of(rows.dtype), rows)) < 200


def test_rows_with_a_stride_and_other_names_are_taken():
    rows = trades(100)
    codec = codec_of(rows.dtype)
    other = rows.view([(f"x{i}", rows.dtype[i]) for i in range(len(rows.dtype))])
    data = codec.encode(other[::3])
    assert codec.decode_records(data, rows.dtype).tobytes() == rows[::3].tobytes()


def test_rows_longer_than_the_byte_index_come_back():
    dtype = np.dtype([("a", "<f8"), ("b", ">i4", (20_000,)), ("c", "f8")])
    codec = RowsCodec([dtype["a"], np.dtype(">i4"), dtype["c"]], [1, 20_000, 1])
    rows = random_array(dtype, 5, 0)
    assert codec.decode_records(codec.encode(rows), dtype).tobytes() == rows.tobytes()


def test_one_codec_is_kept_per_list_of_leaves():
    leaves = (np.dtype("f8"), np.dtype("S3"))
    assert rows_codec(leaves) is rows_codec(leaves)
    assert rows_codec(leaves, (1, 2)) is not rows_codec(leaves)


@pytest.mark.parametrize("dtype", ["O", [("a", "i4")], "(2,)i4", np.dtypes.StringDType()])
def test_leaves_without_a_fixed_width_are_refused(dtype):
    with pytest.raises(CodecError, match="no leaf of fixed width"):
        RowsCodec([np.dtype(dtype)])


def test_rows_that_do_not_fit_are_refused():
    codec = codec_of(np.dtype([("a", "i4")]))
    with pytest.raises(CodecError, match="rows of 8 bytes, 4 expected"):
        codec.encode(np.zeros(3, [("a", "i8")]))
    with pytest.raises(CodecError, match="too many"):
        codec.encode(np.zeros(MAX_ROWS + 1, [("a", "i4")]))
    wide = np.zeros(2, [("a", f"V{MAX_NBYTES}")])
    with pytest.raises(CodecError, match="too many"):
        codec_of(wide.dtype).encode(wide)


@given(st.sampled_from([0, 3, 50, 100, 1000]), st.data())
def test_damaged_pieces_raise_codec_errors_or_give_rows(n, data):
    rows = trades(n)
    codec = codec_of(rows.dtype)
    piece = bytearray(codec.encode(rows))
    for _ in range(data.draw(st.integers(1, 3))):
        # The header and the first bytes of the payload are where structure is.
        at = data.draw(
            st.integers(0, min(len(piece) - 1, data.draw(st.sampled_from([15, 70, 10**6]))))
        )
        piece[at] = data.draw(st.integers(0, 255))
    try:
        assert len(codec.decode_records(bytes(piece))) <= MAX_ROWS
        codec.decode_columns(bytes(piece), [0, 6])
    except CodecError:
        pass


@given(st.sampled_from([0, 3, 50, 100]), st.data())
def test_cut_pieces_raise(n, data):
    codec = codec_of(trades(1).dtype)
    piece = codec.encode(trades(n))
    with pytest.raises(CodecError):
        codec.decode_records(piece[: data.draw(st.integers(0, len(piece) - 1))])
    with pytest.raises(CodecError):
        codec.decode_records(piece + b"\0")


@given(st.binary(max_size=60))
def test_any_stored_payload_raises_or_is_decoded(payload):
    codec = RowsCodec([np.dtype(code) for code in ("f8", "f4", "i2", "S1")])
    for n_rows, n_exceptions in ((0, 0), (1, 0), (3, 1), (3, 6)):
        head = struct.pack("<BBHIII", 1, 0, 0, n_rows, len(payload), n_exceptions)
        try:
            assert len(codec.decode_records(head + payload)) == n_rows
        except CodecError:
            pass


@pytest.mark.parametrize(
    "head",
    [
        (2, 0, 0, 1, 6, 0),  # a version
        (1, 3, 0, 1, 6, 0),  # a codec
        (1, 0, 1, 1, 6, 0),  # the spare field
        (1, 0, 0, 2**32 - 1, 6, 0),  # rows
        (1, 0, 0, 1, 2**32 - 1, 0),  # bytes
        (1, 0, 0, 1, 6, 2),  # exceptions
    ],
)
def test_headers_that_promise_too_much_are_refused(head):
    codec = RowsCodec([np.dtype("f4")])
    payload = bytes([4, 255]) + b"\1\2\3\4"
    assert codec.decode_records(struct.pack("<BBHIII", 1, 0, 0, 1, 6, 0) + payload).tobytes() == (
        b"\1\2\3\4"
    )
    with pytest.raises(CodecError):
        codec.decode_records(struct.pack("<BBHIII", *head) + payload)


def test_a_piece_written_by_hand_is_read_as_documented():
    codec = RowsCodec([np.dtype("i2"), np.dtype("f4"), np.dtype("S2")])
    piece = bytes.fromhex(
        "01 00 00 00 02 00 00 00 21 00 00 00 01 00 00 00"  # header: 2 rows, 33 bytes, 1 exception
        " 31 02 02"  # f4: one byte, difference, zigzag; i2: two bytes; f4 in hundredths
        " 32 00 00 00 00 00 00 00"  # first f4: 50
        " 00 96 01 01"  # lowest bytes: 0, zigzag of 75; then 1, 513 & 255
        " 00 02"  # second bytes of i2
        " 01 00 00 00 00 00 00 80 00 00 00 00"  # exception: second f4 is -0.0
        " 61 62 63 00"  # S2
    )
    rows = np.array([(1, 0.5, b"ab"), (513, -0.0, b"c")], codec.dtype)
    assert codec.decode_records(piece).tobytes() == rows.tobytes()


def test_many_rows_are_written_as_documented():
    codec = RowsCodec([np.dtype("i2"), np.dtype("f4")])
    rng = np.random.default_rng(0)
    rows = np.zeros(256, codec.dtype)
    rows["f0"] = rng.permutation(256)
    rows["f1"] = 0.5 + rng.permutation(256)
    data = codec.encode(rows)
    assert data[:16] == struct.pack("<BBHIII", 1, 0, 0, 256, 3 + 3 * 256, 0)
    assert data[16:19] == bytes([2, 1, 1])  # f4: two bytes, i2: one byte; tenths
    tenths = (rows["f1"] * 10).astype("<u2")
    assert (
        data[19:]
        == (tenths & 255).astype("u1").tobytes()
        + rows["f0"].astype("u1").tobytes()
        + (tenths >> 8).astype("u1").tobytes()
    )


@given(LEAVES, st.sampled_from([0, 1, 10]), st.integers(0, 2**32 - 1), st.data())
def test_rows_that_fit_into_free_room_are_kept_as_they_are(leaves, n, seed, data):
    codec = RowsCodec([dtype for dtype, _ in leaves], [count for _, count in leaves])
    rows = random_array(codec.dtype, n, seed)
    size = 16 + rows.nbytes
    piece = codec.encode(rows, size)
    assert piece[16:] == rows.tobytes()
    assert codec.n_rows(piece) == n
    assert codec.decode_records(piece).tobytes() == rows.tobytes()
    which = data.draw(st.lists(st.integers(0, len(leaves) - 1))) if leaves else []
    for index, column in zip(which, codec.decode_columns(piece, which), strict=True):
        assert column.dtype == rows.dtype[f"f{index}"].base
        assert column.tobytes() == rows[f"f{index}"].tobytes()
        assert column.flags.owndata
    if n and rows.nbytes:
        is_tiny = size <= 256  # these are kept as they are wherever they go
        assert (codec.encode(rows, size - 1)[1] == piece[1]) == is_tiny
        for damaged in (piece[:-1], piece + b"\0", piece[:4] + b"\2\0\0\1" + piece[8:]):
            with pytest.raises(CodecError):
                codec.decode_records(damaged)
        with pytest.raises(CodecError):
            codec.decode_columns(piece[:12] + b"\1" + piece[13:])
