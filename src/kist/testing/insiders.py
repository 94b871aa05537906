"""Sealed files made to do harm by somebody who has the secret: changed before they are sealed.

A checksum can be made right by anybody, a tag only under the key. So the store is made anew, and at
one of the calls that put a record or seal some bytes something else is sealed than was given;
digests, tags and sums above it are made of that, and are right.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.testing.bases import BASES, FILE, MEMORY_FOLDER
from kist.testing.bodies import changed, changed_bundle, changed_page
from kist.testing.mutations import Mutation, changed_payload

__all__ = ["changed_inside"]

Call = Callable[..., Any]

_TRANSACTION = "kist.engine.transaction:Transaction"
_STORE = "kist.engine.sealedstore:StoreSealing"
_RECORDS = (
    "kist.engine.sealedrecords",
    "kist.model.sealing.field",
    "kist.model.tables.indexes.sealed",
)
_BODIES = ("kist.engine.manifest", "kist.model.tables.stored.sealing")
"""Where the calls stand. By name: nothing of this is public, and nothing else here needs it."""


class _Tap:
    """Counts what passes, and changes one thing of it.

    Attributes
    ----------
    seen : Counter of str
        What passed, by the place where it did.
    """

    def __init__(self, rng: random.Random, place: str = "", number: int = -1) -> None:
        self._rng, self._place, self._number = rng, place, number
        self.seen: Counter[str] = Counter()
        self.did = ""

    def _is_it(self, place: str) -> bool:
        self.seen[place] += 1
        return place == self._place and self.seen[place] == self._number

    # Records, wherever they end

    def value(self, key: bytes, value: bytes) -> bytes:
        """The value of a record that is put."""
        if not self._is_it("record"):
            return value
        kind = keys.kind_of(key)
        pointers, payload = unpack_record(value)
        self.did = f"record {kind!r}"
        return pack_record(changed_payload(self._rng, key, payload), pointers)

    def put(self, call: Call) -> Call:
        """`Transaction.put`."""

        def one(txn: Any, key: bytes, value: bytes, **more: Any) -> Any:
            return call(txn, key, self.value(key, value), **more)

        return one

    def put_several(self, call: Call) -> Call:
        """`Transaction.put_new`, `put_all` and `put_many`."""

        def several(txn: Any, pairs: Any) -> Any:
            return call(txn, [(key, self.value(key, value)) for key, value in pairs])

        return several

    # What is sealed

    def sealed_record(self, call: Call) -> Call:
        """`seal_record`: payload and extents of a record of a sealed field."""

        def seal(key: Any, payload: bytes, frames: Any = ()) -> Any:
            if self._is_it("sealed record"):
                chosen = self._rng.randrange(len(frames) + 1)
                if chosen == len(frames):
                    payload = changed(self._rng, payload)
                else:
                    frames = list(frames)
                    frames[chosen] = self._frame(frames[chosen])
                self.did = f"sealed record: {'frame' if chosen < len(frames) else 'payload'}"
            return call(key, payload, frames)

        return seal

    def _frame(self, frame: Any) -> Any:
        body = b"".join((frame.head, *map(bytes, frame.parts)))
        body, head = self._body(body, len(frame.head), frame.type)
        return frame._replace(head=body[:head], parts=(body[head:],) if body[head:] else ())

    def _body(self, body: bytes, head: int, kind: bytes | None = None) -> tuple[bytes, int]:
        ways = {layout.FRAME_BUNDLE: changed_bundle, layout.FRAME_PAGE: changed_page}
        # Where the kind is not known: the one that can read it.
        for known, way in ways.items() if self._rng.random() < 0.8 else ():
            if kind in (known, None):
                try:
                    return way(self._rng, body, head)
                except Exception as error:
                    self.did = f"no {way.__name__} ({error})"
        whole = head == len(body)
        new = changed(self._rng, body)
        return new, len(new) if whole else min(head, len(new))

    def small(self, call: Call) -> Call:
        """`seal_body`: manifests and parts of records."""

        def seal(key: Any, parts: Any, *more: Any) -> Any:
            if self._is_it("body"):
                self.did = "sealed body"
                parts = [changed(self._rng, b"".join(map(bytes, parts)))]
            return call(key, parts, *more)

        return seal

    def extent(self, call: Call) -> Call:
        """`StoreSealing.seal`: an extent of a sealed store, pages of the tree among them."""

        def seal(sealing: Any, parts: Any, head: int, birth: int) -> Any:
            if self._is_it("extent"):
                new, head = self._body(b"".join(map(bytes, parts)), head)
                self.did = "sealed extent"
                parts = [new]
            return call(sealing, parts, head, birth)

        return seal

    def log(self, call: Call) -> Call:
        """`StoreSealing.seal_record`: the operations in a record of the log."""

        def seal(sealing: Any, commit: int, plain: bytes, bound: bytes) -> Any:
            if self._is_it("log"):
                self.did = "sealed log record"
                # The same length: the record of the log around it has it.
                plain = changed(self._rng, plain)[: len(plain)].ljust(len(plain), b"\0")
            return call(sealing, commit, plain, bound)

        return seal

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """Have everything pass here."""
        with contextlib.ExitStack() as stack:

            def wrap(where: str, name: str, around: Callable[[Call], Call]) -> None:
                owner = resolve_name(where)
                stack.enter_context(patch.object(owner, name, around(getattr(owner, name))))

            wrap(_TRANSACTION, "put", self.put)
            for name in ("put_new", "put_all", "put_many"):
                wrap(_TRANSACTION, name, self.put_several)
            for module in _RECORDS:
                wrap(module, "seal_record", self.sealed_record)
            for module in _BODIES:
                wrap(module, "seal_body", self.small)
            wrap(_STORE, "seal", self.extent)
            wrap(_STORE, "seal_record", self.log)
            yield


def _make(name: str, tap: _Tap) -> bytes:
    """The file of a base that was made with a tap, or what there was when its maker failed."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        path = Path(folder) / FILE
        # The maker reads what was changed: that it fails, or how, is no matter here.
        with tap.set():
            try:
                BASES[name].make(path)
            except Exception as error:
                tap.did += f", {type(error).__name__} while it was made"
        return path.read_bytes() if path.exists() else b""


@cache
def _passing(name: str) -> dict[str, int]:
    tap = _Tap(random.Random(0))
    _make(name, tap)
    return dict(tap.seen)


def changed_inside(rng: random.Random, name: str) -> tuple[bytes, Mutation]:
    """The file of a sealed base in which one thing was changed before it was sealed.

    Parameters
    ----------
    rng : random.Random
        What chooses; keys, salts and nonces are random all the same.
    name : str
        Of the base.
    """
    passing = _passing(name)
    place = rng.choice(list(passing))
    tap = _Tap(rng, place, 1 + rng.randrange(passing[place]))
    data = _make(name, tap)
    return data, Mutation("inside", f"{name}: {tap.did or place}")
