"""Blosc2 chunks: both backends write and read the same ones, headers are checked first."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.codecs import blosc, libblosc
from kist.codecs.blosc import BloscParams, compress, decompress_into
from kist.codecs.bloscchunk import cut_apart, joined
from kist.codecs.stage import StoredBlocks
from kist.errors import CodecError


@pytest.fixture(params=["library", "package"])
def backend(request, monkeypatch):
    """Run on the C library and on the package's calls."""
    if request.param == "library":
        found = libblosc.find_backend()
        assert isinstance(found, libblosc.Library), "the blosc2 wheel has lost its library"
    else:
        found = libblosc.Package()
    assert libblosc.works(found)
    monkeypatch.setattr(libblosc, "_chosen", found)
    return found


def params(code: int) -> BloscParams:
    """Each combination of compressor, filter and item size."""
    compressor = (blosc.LZ4, blosc.ZSTD)[code % 2]
    return BloscParams(compressor, 1 + code % 9, code // 2 % 3, (1, 2, 4, 8, 3, 255)[code // 6 % 6])


@pytest.mark.parametrize("code", range(36))
def test_buffers_of_every_length_come_back(backend, code):
    rng = np.random.default_rng(code)
    for n in (0, 1, 31, 32, 33, 255, 1000, 8191, 20_000):
        n -= n % params(code).typesize
        data = (rng.integers(0, 20, n) * rng.integers(0, 2, n)).astype(np.uint8)
        chunk = compress(data, params(code))
        assert len(chunk) <= n
        out = np.full(n + 16, 7, np.uint8)
        decompress_into(chunk, out[8 : 8 + n], params(code))
        assert out[8 : 8 + n].tobytes() == data.tobytes()
        assert set(out[:8].tobytes() + out[8 + n :].tobytes()) == {7}


def test_chunks_of_either_backend_are_read_by_the_other():
    library, package = libblosc.find_backend(), libblosc.Package()
    data = np.arange(5000, dtype="<u4").view(np.uint8)
    for code in range(24):
        for writer, reader in ((library, package), (package, library)):
            (chunk,) = writer.compress(data, data.size, params(code))
            if len(chunk) == data.size:  # stored as it is
                continue
            out = np.zeros_like(data)
            reader.decompress(chunk, out)
            assert np.array_equal(out, data)


def test_short_buffers_do_not_cut_later_ones_into_small_blocks():
    used = BloscParams(blosc.ZSTD, 1, blosc.SHUFFLE, 4)
    for n in (50, 5000, 60, 5000, 40, 5000):
        chunk = compress((np.arange(n) // 3).astype("<u4"), used)
        if n == 5000:
            assert int.from_bytes(chunk[8:12], "little") == 4 * n


def test_blocks_of_any_size_leave_few_contexts_behind():
    library = libblosc.find_backend()
    used = BloscParams(blosc.ZSTD, 1, blosc.NO_FILTER, 1)
    data = np.tile(np.arange(50, dtype=np.uint8), 200)
    for n in range(5000, 5040):
        library.compress(data[:n], n, used)
        library.compress(data[:4096], 4096, used)
    kept = [size for way, size in library._thread.compressors if way == used]
    assert kept[-1] == 4096 and len(kept) == 4


@given(st.integers(0, 31), st.integers(0, 255))
def test_a_changed_header_is_refused_or_changes_nothing(place, value):
    used = BloscParams(blosc.LZ4, 5, blosc.BITSHUFFLE, 4)
    data = (np.arange(4000) // 5).astype("<u4")
    chunk = bytearray(compress(data, used))
    same = chunk[place] == value
    chunk[place] = value
    out = np.zeros_like(data)
    if same:
        decompress_into(bytes(chunk), out, used)
        assert np.array_equal(out, data)
        return
    try:
        decompress_into(bytes(chunk), out, used)
    except CodecError:
        return
    # The version of the compressor's format and the split flag mean nothing or little here.
    assert place in (1, 2) or 8 <= place < 12


def test_sizes_that_do_not_agree_are_refused_before_decoding():
    used = BloscParams(blosc.LZ4, 5, blosc.NO_FILTER, 1)
    chunk = compress(bytes(1000), used)
    for n in (0, 10, 999, 1001, 2000):
        with pytest.raises(CodecError):
            decompress_into(chunk, np.zeros(n, np.uint8), used)
    for cut in (0, 1, 31, len(chunk) - 1):
        with pytest.raises(CodecError):
            decompress_into(chunk[:cut], np.zeros(1000, np.uint8), used)
    other = BloscParams(blosc.ZSTD, 5, blosc.NO_FILTER, 1)
    with pytest.raises(CodecError):
        decompress_into(chunk, np.zeros(1000, np.uint8), other)


def test_parts_of_items_are_refused():
    # Blosc2 itself takes them, and cannot read back what it wrote.
    used = BloscParams(blosc.LZ4, 1, blosc.SHUFFLE, 4)
    with pytest.raises(CodecError):
        compress(bytes(1001), used)
    with pytest.raises(CodecError):
        decompress_into(bytes(1000), np.zeros(1001, np.uint8), used)


@pytest.mark.parametrize(
    "setting",
    ["BLOSC_SHUFFLE=NOSHUFFLE", "BLOSC_COMPRESSOR=ZSTD", "BLOSC_CLEVEL=0", "BLOSC_DELTA=1",
     "BLOSC_TYPESIZE=2", "BLOSC_BLOCKSIZE=100", "BLOSC_NTHREADS=4"],
)  # fmt: skip
def test_the_environment_of_blosc_users_costs_size_but_no_values(setting):
    code = """if True:
        import warnings
        warnings.simplefilter("ignore")
        import numpy as np
        from kist.codecs.blosc import *
        for params in (BloscParams(LZ4, 5, BITSHUFFLE, 4), BloscParams(ZSTD, 1, SHUFFLE, 4)):
            data = (np.arange(5000) // 3).astype("<u4")
            out = np.zeros_like(data)
            decompress_into(compress(data, params), out, params)
            assert np.array_equal(data, out)
    """
    name, _, value = setting.partition("=")
    environment = {**os.environ, name: value}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


def test_impossible_parameters_are_refused():
    for bad in (
        (2, 1, 0, 1),
        (1, 0, 0, 1),
        (1, 10, 0, 1),
        (1, 1, 3, 1),
        (1, 1, 0, 0),
        (1, 1, 0, 256),
    ):
        with pytest.raises(CodecError):
            BloscParams(*bad)


def stored(blocks, gap: int = 0) -> StoredBlocks:
    """The same blocks in one buffer, behind room, with other bytes between them."""
    room = StoredBlocks.room_for(len(blocks))
    parts = [bytes([7]) * room]
    starts, stops = [], []
    for block in blocks:
        starts.append(sum(map(len, parts)))
        parts += [bytes(block), bytes([9]) * gap]
        stops.append(starts[-1] + len(block))
    buffer = np.frombuffer(bytearray(b"".join(parts)), np.uint8)
    return StoredBlocks(buffer, np.array(starts), np.array(stops))


@given(
    st.integers(0, 35),
    st.sampled_from(["zc", "zcx", "zrcx"]).flatmap(
        lambda kinds: st.lists(st.sampled_from(kinds), min_size=3, max_size=9)
    ),
    st.sampled_from([0, 0, 17]),
)
def test_blocks_decoded_by_one_call_are_as_if_decoded_one_by_one(code, kinds, gap):
    # Zeros, random bytes that do not shrink, and what does; the last block is a short one.
    p = params(code)
    size = 240 * p.typesize
    rng = np.random.default_rng(len(kinds) + code)
    made = {
        "z": lambda: np.zeros(size, np.uint8),
        "r": lambda: rng.integers(0, 256, size).astype(np.uint8),
        "c": lambda: (np.arange(size) // 40 % 256).astype(np.uint8),
        "x": lambda: np.full(size, rng.integers(256), np.uint8),
    }
    data = np.concatenate([made[kind]() for kind in kinds])[: -size // 2 // p.typesize * p.typesize]
    blocks = blosc.compress_blocks(data, size, p)
    for given_blocks in (blocks, [memoryview(b) for b in blocks], stored(blocks, gap)):
        out = np.full(data.size + 16, 7, np.uint8)
        blosc.decompress_blocks(given_blocks, out[8:-8], size, p)
        assert out[8:-8].tobytes() == data.tobytes()
        assert set(out[:8].tobytes() + out[-8:].tobytes()) == {7}


def test_blocks_that_shrank_are_joined_and_others_are_not():
    p = BloscParams(blosc.LZ4, 5, blosc.SHUFFLE, 4)
    values = (np.arange(4000, dtype="<u4") // 7).view(np.uint8)
    blocks = blosc.compress_blocks(values, 4000, p)
    found = joined(blocks, 4000, p)
    assert found is not None
    assert joined(stored(blocks), 4000, p) is not None
    zeros = bytes(blosc.compress(np.zeros(4000, np.uint8), p))
    for mixed in ([blocks[0], zeros, blocks[1]], stored([blocks[0], zeros, blocks[1]])):
        chunk = joined(mixed, 4000, p)
        assert chunk is not None
        out = np.empty(12_000, np.uint8)
        libblosc.backend().decompress(chunk, out)
        assert np.array_equal(
            out, np.concatenate([values[:4000], 0 * values[:4000], values[4000:8000]])
        )
    assert joined([zeros, zeros], 4000, p) is None  # nothing to take the header from
    assert joined([blocks[0], values[:4000].data], 4000, p) is None
    assert joined([blocks[0], blocks[0][:-1]], 4000, p) is None


def counted_calls(monkeypatch):
    """A library whose calls of Blosc2's compressor are counted."""
    library = libblosc.find_backend()
    calls = []
    compress = library._compress
    monkeypatch.setattr(library, "_compress", lambda *a: calls.append(a[2]) or compress(*a))
    return library, calls


def test_blocks_are_compressed_by_one_call_for_each_megabyte(monkeypatch):
    library, calls = counted_calls(monkeypatch)
    p = BloscParams(blosc.LZ4, 1, blosc.SHUFFLE, 8)
    data = np.arange(300_000.0).view(np.uint8)
    blocks = library.compress(data, 1 << 16, p)
    assert calls == [1 << 20, 1 << 20, data.size - (2 << 20)]
    assert len(blocks) == -(-data.size >> 16)
    out = np.empty_like(data)
    for number, block in enumerate(blocks):
        decompress_into(block, out[number << 16 : (number + 1) << 16], p)
    assert np.array_equal(out, data)


def test_blocks_that_do_not_shrink_are_those_of_the_values(monkeypatch):
    library, calls = counted_calls(monkeypatch)
    p = BloscParams(blosc.LZ4, 1, blosc.NO_FILTER, 1)
    noise = np.frombuffer(np.random.default_rng(0).bytes(40_000), np.uint8)
    half = np.concatenate([noise[:20_000], np.zeros(10_000, np.uint8), noise[20_000:]])
    for data in (noise, half):
        blocks = library.compress(data, 10_000, p)
        whole = [data[at : at + 10_000].tobytes() for at in range(0, data.size, 10_000)]
        kept = [bytes(block) == part for block, part in zip(blocks, whole, strict=True)]
        assert kept == [part.count(0) < 10_000 for part in whole]
        assert [type(block) for block in blocks] == [memoryview if k else bytes for k in kept]
    assert calls == [40_000, 50_000]


def test_blocks_that_shrink_by_any_few_bytes_come_back():
    p = BloscParams(blosc.LZ4, 1, blosc.NO_FILTER, 1)
    rng = np.random.default_rng(0)
    lengths = set()
    for n_zeros in range(160):
        data = np.concatenate(
            [np.frombuffer(rng.bytes(2000 - n_zeros), "u1"), np.zeros(n_zeros, "u1")]
        )
        data = np.tile(data, 3)
        blocks = blosc.compress_blocks(data, 2000, p)
        lengths |= set(map(len, blocks))
        out = np.empty_like(data)
        blosc.decompress_blocks(blocks, out, 2000, p)
        assert np.array_equal(out, data), n_zeros
    assert len(lengths) > 50 and max(lengths) == 2000


def test_only_a_chunk_as_it_was_asked_for_is_cut_apart():
    p = BloscParams(blosc.LZ4, 1, blosc.SHUFFLE, 4)
    data = np.arange(6000, dtype="<u4").view(np.uint8)
    found = joined(blosc.compress_blocks(data, 8000, p), 8000, p)
    assert found is not None
    chunk = bytes(found)
    again = cut_apart(chunk, data.data, 8000, p)
    assert again is not None
    out = np.empty_like(data)
    blosc.decompress_blocks(again, out, 8000, p)
    assert np.array_equal(out, data)
    first, second = 32, 36  # where it says where the first two blocks begin
    swapped = chunk[:first] + chunk[second : second + 4] + chunk[first:second] + chunk[second + 4 :]
    for wrong in (swapped, chunk[:-1], chunk[:40], chunk[:3] + b"\x08" + chunk[4:]):
        assert cut_apart(wrong, data.data, 8000, p) is None


@given(st.integers(0, 35), st.integers(0, 3), st.integers(0, 255))
def test_a_changed_header_among_many_is_refused_or_changes_nothing(place, which, value):
    p = BloscParams(blosc.LZ4, 5, blosc.SHUFFLE, 4)
    data = (np.arange(4000, dtype="<u4") // 7).view(np.uint8)
    blocks = [bytearray(b) for b in blosc.compress_blocks(data, 4000, p)]
    blocks[which][place] = value
    for given_blocks in ([bytes(b) for b in blocks], stored(blocks)):
        out = np.full(data.size + 16, 7, np.uint8)
        try:
            blosc.decompress_blocks(given_blocks, out[8:-8], 4000, p)
        except CodecError:
            continue
        finally:
            assert set(out[:8].tobytes() + out[-8:].tobytes()) == {7}
        assert out[8:-8].tobytes() == data.tobytes()


def texts() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    lengths = (1, 31, 33, 40, 41, 64, 100, 1000, 8191, 20_000, 300_000, 3 << 20)
    made = [rng.integers(97, 105, n).astype(np.uint8) for n in lengths]
    return [*made, *(np.zeros(n, np.uint8) for n in lengths), rng.bytes(1000), b"ab" * 40]


def test_text_is_compressed_by_zstd_itself_as_blosc2_would():
    library = libblosc.find_backend()
    plain = libblosc.Library(libblosc._libraries()[0])
    assert plain.compress_text(np.zeros(100, np.uint8)) is None
    for values in texts():
        data = np.frombuffer(values, np.uint8)
        block = library.compress_text(data)
        assert block is not None, "the library of the blosc2 wheel hides Zstd"
        (usual,) = plain.compress(data, data.size, libblosc.TEXT)
        assert len(block) <= data.size
        if len(block) < data.size:
            blosc.check_chunk(block, data.size, libblosc.TEXT)
            assert len(usual) == 32 or (block[:12] == usual[:12] and block[16:36] == usual[16:36])
            for reader in (library, libblosc.Package()):
                out = np.empty_like(data)
                reader.decompress(block, out)
                assert out.tobytes() == data.tobytes()
        else:
            assert bytes(block) == data.tobytes()


def test_without_zstd_to_be_seen_blosc2_compresses_text(monkeypatch):
    def hidden(lib):
        raise AttributeError("undefined symbol: ZSTD_createCCtx")

    monkeypatch.setattr(libblosc, "Zstd", hidden)
    library = libblosc.find_backend()
    assert library.compress_text(np.zeros(100, np.uint8)) is None
    monkeypatch.setattr(libblosc, "_chosen", library)
    data = np.tile(np.arange(9, dtype=np.uint8), 500)
    chunk = compress(data, libblosc.TEXT)
    assert len(chunk) < data.size


def test_zstd_that_blosc2_cannot_read_is_not_used(monkeypatch):
    class Other(libblosc.Zstd):
        def compress(self, source, size, target, room):
            return min(100, room)  # whatever stands there

    monkeypatch.setattr(libblosc, "Zstd", Other)
    assert libblosc.find_backend().compress_text(np.zeros(100, np.uint8)) is None
