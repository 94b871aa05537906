"""Which id means which stage. Ids are frozen: one id names one stored form for ever."""

from __future__ import annotations

from kist.codecs.blosc import Blosc2
from kist.codecs.constant import Constant
from kist.codecs.decimals import Decimals
from kist.codecs.delta import Delta
from kist.codecs.dictionary import Dictionary
from kist.codecs.pco import Pcodec
from kist.codecs.plain import Plain
from kist.codecs.reference import Reference
from kist.codecs.runs import Runs
from kist.codecs.stage import Codec, Encoding
from kist.codecs.strings import StringDictionary, Strings
from kist.codecs.zigzag import Zigzag
from kist.errors import UnknownCodecError

CONSTANT = Constant.id
RUNS = Runs.id
DICTIONARY = Dictionary.id
REFERENCE = Reference.id
DELTA = Delta.id
ZIGZAG = Zigzag.id
DECIMAL = Decimals.id
PLAIN = Plain.id
BLOSC2 = Blosc2.id
PCODEC = Pcodec.id
STRINGS = Strings.id
STRING_DICTIONARY = StringDictionary.id

ENCODINGS: dict[int, Encoding] = {
    e.id: e for e in (Dictionary(), Reference(), Delta(), Zigzag(), Decimals(), StringDictionary())
}
"""Array -> array stages."""

CODECS: dict[int, Codec] = {
    c.id: c for c in (Constant(), Runs(), Plain(), Blosc2(), Pcodec(), Strings())
}
"""Stages that end a pipeline."""


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
