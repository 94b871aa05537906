"""Which id means which stage. Ids are frozen: one id names one stored form for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Final, Generic, TypeVar

from kist.codecs.stage import Codec, Encoding
from kist.errors import UnknownCodecError

S = TypeVar("S", Codec, Encoding)

CONSTANT: Final = 1
RUNS: Final = 2
DICTIONARY: Final = 3
REFERENCE: Final = 4
DELTA: Final = 5
ZIGZAG: Final = 6
DECIMAL: Final = 7
PLAIN: Final = 16
BLOSC2: Final = 17
PCODEC: Final = 18
STRINGS: Final = 19
STRING_DICTIONARY: Final = 20
RAGGED: Final = 21


class _Stages(Mapping[int, S], Generic[S]):
    """Stages by id. Each is loaded when it is first met: few pages need more than two of them."""

    def __init__(self, homes: dict[int, tuple[str, str]]) -> None:
        self._homes = homes
        self._loaded: dict[int, S] = {}

    def __getitem__(self, number: int) -> S:
        found = self._loaded.get(number)
        if found is None:
            module, name = self._homes[number]
            found = getattr(import_module(f"kist.codecs.{module}"), name)()
            self._loaded[number] = found
        return found

    def __contains__(self, number: object) -> bool:
        return number in self._homes

    def __iter__(self) -> Iterator[int]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


ENCODINGS: Mapping[int, Encoding] = _Stages(
    {
        DICTIONARY: ("dictionary", "Dictionary"),
        REFERENCE: ("reference", "Reference"),
        DELTA: ("delta", "Delta"),
        ZIGZAG: ("zigzag", "Zigzag"),
        DECIMAL: ("decimals", "Decimals"),
        STRING_DICTIONARY: ("strings", "StringDictionary"),
        RAGGED: ("ragged", "Ragged"),
    }
)
"""Array -> array stages, and those that begin pages of values without a fixed width."""

CODECS: Mapping[int, Codec] = _Stages(
    {
        CONSTANT: ("constant", "Constant"),
        RUNS: ("runs", "Runs"),
        PLAIN: ("plain", "Plain"),
        BLOSC2: ("blosc", "Blosc2"),
        PCODEC: ("pco", "Pcodec"),
        STRINGS: ("strings", "Strings"),
    }
)
"""Stages that end a pipeline."""


@cache
def encoding(number: int) -> Encoding:
    """The array -> array stage of that id.

    Raises
    ------
    UnknownCodecError
        This kist knows none, or it is one that ends a pipeline.
    """
    found = ENCODINGS.get(number)
    if found is None:
        raise UnknownCodecError(_unknown(number, "encoding"))
    return found


@cache
def codec(number: int) -> Codec:
    """The stage of that id that ends a pipeline.

    Raises
    ------
    UnknownCodecError
        This kist knows none, or it is an array -> array stage.
    """
    found = CODECS.get(number)
    if found is None:
        raise UnknownCodecError(_unknown(number, "codec"))
    return found


def _unknown(number: int, kind: str) -> str:
    known: dict[int, Encoding | Codec] = {**ENCODINGS, **CODECS}
    if number in known:
        return f"stage {number} ({known[number].name}) cannot stand where this page has it"
    return f"the page uses {kind} {number}, which this version of kist does not know"
