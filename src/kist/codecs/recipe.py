"""A recipe: which stages a column's pages shall get. Pages take what suits them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kist._kernels.decimals import MAX_EXPONENT
from kist.codecs.delta import MAX_ORDER
from kist.codecs.registry import CODECS, ENCODINGS
from kist.codecs.stage import MAX_STEPS
from kist.errors import CodecError

_HEAD = struct.Struct("<BB")
_STEP = struct.Struct("<HB")
_OPTION = struct.Struct("<Q")

# Numbers of options that each stage takes, at least and at most.
_OPTIONS = {1: (0, 0), 2: (0, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (0, 0), 7: (2, 2)}
_OPTIONS |= {16: (0, 0), 17: (4, 4), 18: (1, 1), 19: (2, 3), 20: (0, 0), 21: (0, 0)}


# Least and greatest of the options: recipes stand in files, and what they say is done when values
# are added.
_RANGES = {
    4: ((0, (1 << 63) - 1),),
    5: ((1, MAX_ORDER),),
    7: ((0, MAX_EXPONENT), (4, 8)),
    17: ((0, 5), (0, 9), (0, 2), (0, 2)),
    18: ((0, 12),),
    19: ((0, 5), (0, 9), (0, 1)),
}


class _Recipe(NamedTuple):
    preset: str
    steps: tuple[tuple[int, ...], ...]


class Recipe(_Recipe):
    """Stages in the order of encoding, each ``(id, option, ...)``; hashable.

    Attributes
    ----------
    preset : str
        What it was chosen for: a page that it does not fit is chosen for anew with this.
    steps : tuple of tuple of int
        Array -> array stages, then the codec.
    """

    __slots__ = ()

    def __new__(cls, preset: str, steps: tuple[tuple[int, ...], ...]) -> Recipe:
        """Refuse what no page can be encoded by."""
        good = 0 < len(steps) <= MAX_STEPS and len(preset) < 64
        for place, (number, *options) in enumerate(steps):
            known = CODECS if place == len(steps) - 1 else ENCODINGS
            low, high = _OPTIONS.get(number, (1, 0))
            good = good and number in known and low <= len(options) <= high
            ranges = _RANGES.get(number, ())
            good = good and all(a <= o <= b for o, (a, b) in zip(options, ranges, strict=False))
        if not good:
            raise CodecError(f"no recipe: {steps!r} for {preset!r}")
        return super().__new__(cls, preset, steps)

    def describe(self) -> str:
        """Short text for people, such as ``decimal(2) delta reference blosc2-zstd``."""
        words = [ENCODINGS[number].describe(tuple(o)) for number, *o in self.steps[:-1]]
        number, *options = self.steps[-1]
        return " ".join([*words, CODECS[number].describe(tuple(options))])

    def pack(self) -> bytes:
        """The recipe as bytes, for keeping with a column.

        Length u8 of the preset, number of steps u8, the preset in UTF-8; per step its id u16,
        number of options u8, options u64.
        """
        name = self.preset.encode()
        parts = [_HEAD.pack(len(name), len(self.steps)), name]
        for number, *options in self.steps:
            parts.append(_STEP.pack(number, len(options)))
            parts += [_OPTION.pack(o) for o in options]
        return b"".join(parts)

    @classmethod
    def unpack(cls, data: bytes) -> Recipe:
        """The inverse of `pack`.

        Raises
        ------
        CodecError
            The bytes are no recipe, or one that this kist does not know.
        """
        try:
            length, count = _HEAD.unpack_from(data)
            at = _HEAD.size + length
            preset = data[_HEAD.size : at].decode()
            steps = []
            for _ in range(count):
                number, n_options = _STEP.unpack_from(data, at)
                at += _STEP.size
                options = struct.unpack_from(f"<{n_options}Q", data, at)
                at += _OPTION.size * n_options
                steps.append((number, *options))
        except (struct.error, UnicodeDecodeError) as error:
            raise CodecError(f"{len(data)} bytes are no recipe: {error}") from error
        if at != len(data):
            raise CodecError(f"a recipe of {at} bytes is followed by {len(data) - at} more")
        return cls(preset, tuple(steps))
