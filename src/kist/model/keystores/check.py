"""What `check` looks at in a key store: every key, every value, the counts, the other forms."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from kist.errors import CorruptDataError, KistError, TooLargeError
from kist.format import keys
from kist.format.keystore import Counts, pack_key, sizes_of, unpack_key
from kist.format.values import unpack_record
from kist.model.keystores.read import unpack

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.keystores.keystore import KeyStore

__all__ = ["check_keystore"]

_KEY = 9


def check_keystore(store: KeyStore, view: View) -> Iterator[str]:
    """Sentences about what is wrong; decodes every value, one at a time."""
    n_keys = nbytes = stored = 0
    not_nfc = {}
    for packed, value in view.scan(*keys.items(store._id)):
        n_keys += 1
        try:
            key = unpack_key(packed[_KEY:])
        except CorruptDataError as error:
            yield str(error)
            continue
        try:
            sizes = sizes_of(packed, value)
            nbytes, stored = nbytes + sizes[0], stored + sizes[1]
            # The engine has verified the bytes of a value that memory must not hold.
            with suppress(TooLargeError):
                unpack(view, value)
        except KistError as error:
            yield f"key {key!r}: {error}"
        if isinstance(key, str) and not key.isascii():
            form = unicodedata.normalize("NFC", key)
            if form != key:
                not_nfc[keys.other_form(store._id, form)] = key
                if view.get(keys.item(store._id, pack_key(form))) is not None:
                    yield f"key {key!a} stands beside {form!a}, the same text in another form"
    try:
        counted, found = (
            Counts.unpack(view.get(keys.bounds(store._id)))[:3],
            (n_keys, nbytes, stored),
        )
        if counted != found:
            what = "keys, bytes and stored bytes"
            yield f"counts {what} as {counted}; there are {found}"
    except CorruptDataError as error:
        yield str(error)
    for noted, value in view.scan(*keys.other_forms(store._id)):
        text = unpack_record(value)[1].decode("utf-8", "replace")
        if not_nfc.pop(noted, None) != text:
            yield f"notes {text!a} as another form of a key, which it is not"
    for key in not_nfc.values():
        yield f"key {key!a} is not in Unicode's form NFC, and that is not noted"
