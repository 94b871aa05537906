"""Which stages a column gets: candidates are tried on a sample of it.

A candidate's price is what its bytes cost on disk plus what its work costs, both in
nanoseconds per value. The work is counted by constants that were measured once (one core at
2.5 GHz, AVX-512, pages of 65,536 values), never timed: the same values always give the same
recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.decimals import power_of_ten, scaled_integers
from kist._kernels.lookup import keys_of
from kist._kernels.sets import ascending
from kist.codecs.alike import Looks, looks_of
from kist.codecs.blosc import BITSHUFFLE, FILTERS, LZ4, NO_FILTER, SHUFFLE, ZSTD
from kist.codecs.recipe import Recipe
from kist.codecs.reference import common_step
from kist.codecs.registry import (
    BLOSC2,
    DECIMAL,
    DELTA,
    DICTIONARY,
    PCODEC,
    PLAIN,
    REFERENCE,
    RUNS,
    ZIGZAG,
)
from kist.codecs.steps import Steps, constant, run_codec, run_encodings
from kist.codecs.values import changes, to_form
from kist.errors import CodecError


class _Preset(NamedTuple):
    byte_ns: float  # what a stored byte costs; 6.7 is a disk of 150 MB/s
    # balanced: at 15, Zstd took 0.3 bytes off each step of a price and doubled the time to read.
    compressor: int
    level: int
    pcodec: int | None  # its level; None: never
    float_orders: tuple[int, ...]  # deltas tried on the bits of floats


_PRESETS = {
    "fast": _Preset(2.4, LZ4, 1, None, ()),
    "balanced": _Preset(8.0, ZSTD, 1, 4, (1, 2)),
    "small": _Preset(100.0, ZSTD, 5, 8, (1, 2, 3)),
}
PRESETS = tuple(_PRESETS)
DEFAULT = "balanced"

_CODECS = {
    "none": PLAIN,
    "blosc2-lz4": LZ4,
    "blosc2-zstd": ZSTD,
    "lz4": LZ4,
    "zstd": ZSTD,
    "pcodec": PCODEC,
}

_WINDOW = 2048
"""Neighbouring values of a sample are taken so many at a time, from its two quarter points."""

_FALLBACK_LEVEL = 1
_EXPLICIT_LEVEL = 5
_PCODEC_LEVEL = 8

_DIGITS = np.array([power_of_ten(k) for k in range(11)])

# (encode, decode) in ns, per value for encodings, per byte of input for codecs.
_ENCODING_NS = {
    DECIMAL: (3.0, 1.5),
    DICTIONARY: (5.0, 1.5),
    DELTA: (0.6, 2.2),
    REFERENCE: (0.5, 0.4),
    ZIGZAG: (0.3, 0.3),
}
_LZ4_NS = {NO_FILTER: (1.0, 0.3), SHUFFLE: (1.2, 0.6), BITSHUFFLE: (1.5, 1.4)}
_LZ4_LEAST = 0.35  # of these where nearly nothing is left: long matches are skipped and copied
_PLAIN_NS = (0.05, 0.05)
_PCODEC_NS = (30.0, 4.0)  # per value
_RUNS_NS = (0.5, 0.1)
_MANY_ITEMS_NS = 40.0  # a dictionary of more than 256 items is searched


def parse_codec(spec: str) -> str:
    """The canonical name of a codec choice.

    Parameters
    ----------
    spec : str
        ``"auto"``, a preset (``"fast"``, ``"balanced"``, ``"small"``), or a codec that takes
        the values as they are: ``"none"``, ``"pcodec"``, ``"blosc2-lz4"``, ``"blosc2-zstd"``
        (short ``"lz4"``, ``"zstd"``), the Blosc2 ones with ``"+shuffle"``, ``"+bitshuffle"``
        or neither.

    Raises
    ------
    CodecError
        There is no such choice; the message lists those that are.

    Examples
    --------
    >>> parse_codec("auto"), parse_codec("zstd+shuffle")
    ('balanced', 'blosc2-zstd+shuffle')
    """
    if isinstance(spec, str):
        if spec == "auto":
            return DEFAULT
        if spec in _PRESETS:
            return spec
        name, _, filter_ = spec.partition("+")
        if name in ("lz4", "zstd"):
            name = f"blosc2-{name}"
        with_filter = name.startswith("blosc2-") and filter_ in ("shuffle", "bitshuffle")
        if name in _CODECS and (with_filter or "+" not in spec):
            return f"{name}+{filter_}" if filter_ else name
    raise CodecError(
        f"there is no codec {spec!r}; there are the presets 'auto', {', '.join(map(repr, PRESETS))}"
        f" and the codecs {', '.join(map(repr, _CODECS))}, those with lz4 and zstd also with "
        "'+shuffle' or '+bitshuffle'"
    )


def fallback_of(preset: str) -> tuple[int, ...]:
    """The codec step for values that the chosen codec does not take."""
    compressor = _PRESETS[preset].compressor if preset in _PRESETS else ZSTD
    return (BLOSC2, compressor, _FALLBACK_LEVEL, NO_FILTER, SHUFFLE)


def choose(
    sample: NDArray[Any],
    preset: str = DEFAULT,
    *,
    block: int | None = None,
    often: bool = False,
) -> Recipe:
    """The recipe for values like these.

    Parameters
    ----------
    sample : ndarray, 1-d
        A column, a page of it, or some of its values in their order. Two stretches are looked
        at.
    preset : str
        See `parse_codec`.
    block : int, optional
        Values of a block of an n-d array. It repeats itself from plane to plane only, so that
        whole blocks are looked at; and single blocks are what is read most, so that LZ4 is tried
        beside Zstd.
    often : bool
        The values are read often and written one by one, as those of key stores: time counts
        twice as much beside bytes.

    Raises
    ------
    CodecError
        Unknown preset, or values that cannot be stored.

    Notes
    -----
    About a millisecond; much less for strings and narrow integers.
    """
    name = parse_codec(preset)
    form, block_values = _picked(sample, block or _WINDOW, often)
    if name not in _PRESETS:
        return Recipe(name, (_explicit(name),))
    settings = _PRESETS[name]
    if often:
        settings = settings._replace(byte_ns=settings.byte_ns / 2)
    if not form.size or not form.itemsize or constant(form, block_values):
        return Recipe(name, (fallback_of(name),))
    best: tuple[float, Steps] | None = None
    trials = []
    for steps, rest, base_ns in _encodings(form, sample, settings, block_values):
        if steps and constant(rest, block_values):
            return Recipe(name, (*steps, fallback_of(name)))
        price, codec_step = _price(rest, _main_codec(rest, settings), settings, block_values)
        trials.append((price + base_ns, steps, rest, base_ns))
        if best is None or price + base_ns < best[0]:
            best = (price + base_ns, (*steps, codec_step))
    assert best is not None  # no encoding at all is always among them
    # The other codecs only for what looks best with the usual one.
    trials.sort(key=lambda t: t[0])
    for _, steps, rest, base_ns in trials[:3]:
        for step in _other_codecs(rest, settings, best[0], block is not None):
            price, codec_step = _price(rest, step, settings, block_values)
            if price + base_ns < best[0]:
                best = (price + base_ns, (*steps, codec_step))
    return Recipe(name, best[1])


def looks(sample: NDArray[Any], preset: str = DEFAULT, *, block: int | None = None) -> Looks | None:
    """What these values look like: `choose` would do much the same for others that look so.

    Parameters
    ----------
    sample, preset, block
        As for `choose`.

    Returns
    -------
    tuple or None
        Hashable. None: they are no numbers, or choosing is no work.

    Notes
    -----
    0.2 to 0.5 ms, where choosing takes 1 to 8.
    """
    name = parse_codec(preset)
    # Text that is bytes already is no array.
    if name not in _PRESETS or not isinstance(sample, np.ndarray):
        return None
    if sample.size < 3 or sample.dtype.kind not in "iufmM":
        return None
    settings = _PRESETS[name]
    form, block_values = _picked(sample, block or _WINDOW, False)
    if form.itemsize > 8 or constant(form, block_values):
        return None
    decimal = _decimal_of(form)
    scaled = None if decimal is None else _scaled(form, decimal, settings, block_values)
    numbers = form if scaled is None else scaled[1]
    price = _price(numbers, _main_codec(numbers, settings), settings, block_values)[0]
    n_items = _n_items(sample).bit_length() if _is_repetitive(form) else 0
    place = (name, block, form.dtype, scaled and decimal, n_items, sample.size.bit_length())
    return (*place, *looks_of(numbers, price))


def _picked(sample: NDArray[Any], window: int, often: bool) -> tuple[NDArray[Any], int]:
    """The stretches that are looked at, in their form, and their length as a block."""
    n = sample.size
    if sample.ndim == 1 and n > (2 if often else 4) * window:
        starts = (n // 4, (3 * n) // 4)
        if window > _WINDOW:  # those are blocks: look at whole ones
            starts = (starts[0] // window * window, starts[1] // window * window)
        parts = [to_form(sample[at : at + window]) for at in starts]
        if window > _WINDOW and not often and parts[0].dtype.kind in "iu":
            # Blocks of images differ in their level: a reference needs the width of all of them.
            whole = to_form(sample)
            parts[0] = np.concatenate([[whole.min(), whole.max()], parts[0][2:]], dtype=whole.dtype)
        return np.concatenate(parts) if parts[0].itemsize else parts[0], window
    return to_form(sample), max(n, 1)


def _explicit(name: str) -> tuple[int, ...]:
    codec, _, filter_ = name.partition("+")
    if codec == "none":
        return (PLAIN,)
    if codec == "pcodec":
        return (PCODEC, _PCODEC_LEVEL)
    chosen = FILTERS[filter_ or "none"]
    return (BLOSC2, _CODECS[codec], _EXPLICIT_LEVEL, chosen, chosen)


def _encodings(
    form: NDArray[Any], sample: NDArray[Any], settings: _Preset, block_values: int
) -> Iterator[tuple[Steps, NDArray[Any], float]]:
    """Ways to narrow the values: steps, what they leave, and the price of their work."""
    decimal = _decimal_of(form)
    # Tried on finite values; too many NaN or infinities are as good as no decimals.
    scaled = None if decimal is None else _scaled(form, decimal, settings, block_values)
    if form.dtype.kind not in "iu" and scaled is None:
        yield (), form, 0.0  # else it is among those below, or no match for them
    if _is_repetitive(form) and (numbers := _trial(form, ((DICTIONARY,),), block_values)):
        rest = numbers[1]
        n_items = max(int(rest.max()) + 1, _n_items(sample))
        many = n_items > 256
        # As many items as a good part of the sample promises ever more in the page.
        few = int(rest.max()) < form.size // 8 and n_items <= form.size // 2
        if few and form.itemsize > 1 + many:
            rest = rest.astype("<u2") if many else rest
            yield numbers[0], rest, numbers[2] + (_MANY_ITEMS_NS / 2 if many else 0.0)
    if scaled is not None:
        yield from _integers(*scaled, (0, 1, 2), block_values)
    elif form.dtype.kind == "f":
        for order in settings.float_orders:
            found = _trial(form, ((DELTA, order), (ZIGZAG,)), block_values)
            if found:
                yield found
    elif form.dtype.kind in "iu":
        yield from _integers((), form, 0.0, (0, 1, 2), block_values)


def _is_repetitive(form: NDArray[Any]) -> bool:
    """Whether a dictionary may be worth trying: a few hundred values tell."""
    if form.itemsize == 1:
        return False
    few = np.ascontiguousarray(form[:: max(1, form.size // 512)])
    return ascending(keys_of(few)).size <= max(few.size // 2, 1)


def _n_items(sample: NDArray[Any]) -> int:
    """Distinct items far and wide: what wanders has few nearby, and many in a page."""
    spread = sample[:: max(1, sample.size // (2 * _WINDOW))]
    return int(ascending(keys_of(to_form(np.ascontiguousarray(spread)))).size)


def _integers(
    before: Steps, values: NDArray[Any], ns: float, orders: tuple[int, ...], block_values: int
) -> Iterator[tuple[Steps, NDArray[Any], float]]:
    for order in orders:
        steps: Steps = ((DELTA, order),) if order else ()
        found = run_encodings(values, steps, block_values)
        if found is None or (order and not found[0]):
            continue
        rest = found[1]
        if rest.itemsize > 1:
            steps = (*steps, (REFERENCE, common_step(rest)))
            found = run_encodings(rest, steps[-1:], block_values)
            assert found is not None  # a reference that does not suit is left out
            rest = found[1]
        yield (*before, *steps), rest, ns + _encoding_ns(steps)
        if rest.dtype.kind == "i":
            steps = (*steps, (ZIGZAG,))
            found = run_encodings(rest, steps[-1:], block_values)
            assert found is not None
            yield (*before, *steps), found[1], ns + _encoding_ns(steps)


def _scaled(
    form: NDArray[Any], step: tuple[int, ...], settings: _Preset, block_values: int
) -> tuple[Steps, NDArray[Any], float] | None:
    """What floats are as decimals; those that are none, and are listed, have their price."""
    found = run_encodings(form, (step,), block_values)
    if found is None or not found[0]:
        return None
    listed = settings.byte_ns * len(found[0][0].params) / form.size
    return (step,), found[1], _encoding_ns((step,)) + listed


def _trial(
    form: NDArray[Any], steps: Steps, block_values: int
) -> tuple[Steps, NDArray[Any], float] | None:
    found = run_encodings(form, steps, block_values)
    if found is None or not found[0]:
        return None
    return steps, found[1], _encoding_ns(steps)


def _encoding_ns(steps: Steps) -> float:
    total = 0.0
    for number, *options in steps:
        encode, decode = _ENCODING_NS[number]
        times = options[0] if number == DELTA else 1
        total += times * (encode / 2 + decode)
    return total


def _decimal_of(values: NDArray[Any]) -> tuple[int, ...] | None:
    """The decimal step that suits nearly all of these values, if they are floats."""
    if values.dtype.kind != "f" or values.itemsize < 4:
        return None
    finite = values[np.isfinite(values)][:512]
    if finite.size < 2:
        return None
    allowed = finite.size // 50
    most = _DIGITS[: 7 if values.itemsize == 4 else 11]
    few = finite[:16, np.newaxis]
    with np.errstate(over="ignore", invalid="ignore"):
        back = (np.rint(few * most) / most).astype(values.dtype)
    # A few values decide against almost every wrong exponent.
    maybe = np.count_nonzero(back != few, axis=0) <= max(allowed, 1)
    for exponent in np.flatnonzero(maybe).tolist():
        wrong = scaled_integers(finite, exponent, np.dtype("<i8"))[1]
        if np.count_nonzero(wrong) <= allowed:
            scaled = np.abs(finite.astype("<f8")).max() * 10.0**exponent
            return (DECIMAL, exponent, 4 if scaled < 2.0**30 else 8)
    return None


def _main_codec(rest: NDArray[Any], settings: _Preset) -> tuple[int, ...]:
    narrow = NO_FILTER if settings.compressor == ZSTD else BITSHUFFLE
    return (BLOSC2, settings.compressor, settings.level, narrow, SHUFFLE)


def _other_codecs(
    rest: NDArray[Any], settings: _Preset, best: float, is_array: bool
) -> Iterator[tuple[int, ...]]:
    yield (PLAIN,)
    if np.count_nonzero(changes(rest)) <= rest.size // 256:
        yield (RUNS,)
    main = _main_codec(rest, settings)
    narrow = rest.itemsize == 1
    # Higher levels look for longer matches, and can be worse where there are none.
    for level in sorted({1, settings.level}):
        for filter_ in (NO_FILTER, BITSHUFFLE) if narrow else (NO_FILTER, SHUFFLE, BITSHUFFLE):
            filters = (filter_, main[4]) if narrow else (main[3], filter_)
            step = (*main[:2], level, *filters)
            if step != main:
                yield step
    if is_array and settings.compressor == ZSTD:
        yield (BLOSC2, LZ4, 1, BITSHUFFLE, SHUFFLE)
        yield (BLOSC2, LZ4, 1, BITSHUFFLE, BITSHUFFLE)
    # Trying pcodec is dear: its own work must leave room for a gain.
    room = best > 2 * (_PCODEC_NS[0] / 2 + _PCODEC_NS[1])
    if settings.pcodec is not None and room:
        from kist.codecs.pco import suits

        if suits(rest.dtype):
            yield (PCODEC, settings.pcodec)


def _price(
    rest: NDArray[Any], step: tuple[int, ...], settings: _Preset, block_values: int
) -> tuple[float, tuple[int, ...]]:
    """Price per value of storing `rest` with this codec, and the codec."""
    stage, blocks = run_codec(rest, step, (PLAIN,), block_values)
    stored = len(stage.params) + sum(map(len, blocks))
    encode, decode = _codec_ns(rest, step, stored / rest.nbytes, settings)
    return settings.byte_ns * stored / rest.size + encode / 2 + decode, step


def _codec_ns(
    rest: NDArray[Any], step: tuple[int, ...], ratio: float, settings: _Preset
) -> tuple[float, float]:
    """Work of a codec per value, which shrinks `rest` to `ratio`."""
    size = rest.itemsize
    if step[0] == PCODEC:
        return _PCODEC_NS
    if step[0] == RUNS:
        return _RUNS_NS
    filter_ = 0 if step[0] == PLAIN else step[3] if size == 1 else step[4]
    if step[0] == PLAIN:
        encode, decode = _PLAIN_NS
    elif step[1] == LZ4:
        encode, decode = _LZ4_NS[filter_]
        if settings.compressor == LZ4:
            # Beside Zstd all is priced alike: masks would become three times as large.
            part = min(1.0, _LZ4_LEAST + ratio)
            encode, decode = part * encode, part * decode
    elif filter_ == BITSHUFFLE:
        encode, decode = 1.0 + 4.0 * ratio, 1.2 + 1.0 * ratio
    else:
        # Zstd is slow where it finds many short matches: bytes of few values in no order.
        found = min(max(0.5 - ratio, 0.0), 0.15)
        encode, decode = 3.8 + 40.0 * found, 1.6 + 8.0 * found
    return encode * size, decode * size
