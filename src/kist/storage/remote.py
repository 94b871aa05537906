"""A store behind a network: few requests, many at once, of one version of the file.

Opening fetches the first 272 KiB, which is everything but trees and data. What the engine will
read next it says by `prefetch`, so that one round trip brings many ranges. What came is kept in
memory, bounded, and on request in a folder (`kist.storage.blockcache`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NoReturn

from kist import options
from kist.errors import (
    ReadOnlyError,
    StaleHandleError,
    StorageError,
    StoreClosedError,
    StoreNotFoundError,
)
from kist.storage.attempts import persist
from kist.storage.base import StorageBackend
from kist.storage.blockcache import BlockCache
from kist.storage.locks import CountedPins, joined
from kist.storage.pieces import Pieces, Range
from kist.storage.transport import Changed, Missing, Transient, Transport, Version

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["FIRST_BYTES", "RemoteBackend"]

FIRST_BYTES: Final = 272 * 1024
"""Fetched at opening: headers, slots and the whole log (docs/format.md, "File")."""

MOST_BYTES: Final = 4 << 20
"""Of one request; longer ranges are several, which travel at the same time."""

AT_ONCE: Final = 16
"""Requests that travel at the same time."""

KEPT_BYTES: Final = 64 << 20
"""Of what was read, kept in memory."""

SMALL_GAP: Final = 4096
"""Ranges this near each other are one request; so are those whose gap is an eighth of both."""


class RemoteLocks(CountedPins):
    """Pins of this process, which nobody else sees: what guards a remote file is its version."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def acquire_writer(self, timeout: float | None) -> None:
        raise ReadOnlyError(f"{self._name!r} is read over the network; write to a local file")

    def release_writer(self) -> None:
        return

    def writer_held(self) -> bool:
        return False

    def _take_pin(self, commit: int) -> None:
        return

    def _free_pin(self, commit: int) -> None:
        return

    def pinned_ranges(self, limit: int) -> list[Range]:
        return joined([(c, c) for c in sorted(self._counts) if c <= limit])

    def holders(self) -> dict[int, list[int]]:
        return {commit: [os.getpid()] for commit in sorted(self._counts)}

    def writer_holder(self) -> str | None:
        return None


class RemoteBackend(StorageBackend):
    """A file behind a `Transport`, for reading.

    Parameters
    ----------
    transport : Transport
        Leads to the file.
    timeout_s : float
        Longest wait for a range, all attempts together (`kist.storage.attempts`).
    cache : path, optional
        Folder for blocks that outlive the process; `options.cache_bytes` bounds it.
    cache_key : str, optional
        What the folder knows the file by; the transport's name unless given.

    Attributes
    ----------
    requests, request_bytes : int
        Requests made, and bytes that came.
    rounds : int
        How many times somebody had to wait for the network.

    Raises
    ------
    StoreNotFoundError
        There is no such file.
    StorageError
        It cannot be read; the message says why.
    """

    locks: RemoteLocks
    remote = True

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_s: float = 30.0,
        cache: str | os.PathLike[str] | None = None,
        cache_key: str = "",
    ) -> None:
        self.name = transport.name
        self.writable = False
        self.requests = self.request_bytes = self.rounds = 0
        self._transport = transport
        self._timeout_s = timeout_s
        self._closed = False
        self._counting = threading.Lock()
        self._pieces = Pieces(KEPT_BYTES)
        self._blocks: BlockCache | None = None
        super().__init__()
        self.locks = RemoteLocks(self.name)
        self._version: Version | None = None
        first = self._request((0, FIRST_BYTES))
        self.rounds = 1
        self._pieces.put(0, first, for_good=True)
        if cache is not None:
            if not self.version.is_named:
                raise StorageError(
                    f"{self.name!r}: the server tells neither ETag nor time of change, so that "
                    "a cache could show an older content; open it without cache="
                )
            self._blocks = BlockCache(
                cache, cache_key or self.name, self.version, options.cache_bytes
            )

    @property
    def version(self) -> Version:
        """The content that is read here."""
        assert self._version is not None  # since the first request
        return self._version

    # Reading

    def size(self) -> int:
        self._check_open()
        return self.version.size

    def read(self, offset: int, n: int) -> bytes:
        if offset < 0 or n < 0:
            raise ValueError(f"cannot read {n} bytes at {offset}")
        self._check_open()
        stop = min(offset + n, self.version.size)
        data = self._take(offset, stop) if stop > offset else b""
        self.stats.reads += 1
        self.stats.read_bytes += len(data)
        return data

    def prefetch(self, ranges: Sequence[Range]) -> None:
        self._check_open()
        size = self.version.size
        wanted = [(max(0, a), min(b, size)) for a, b in ranges]
        gaps, room = [], KEPT_BYTES
        for gap in (gap for a, b in merged(wanted) for gap in self._pieces.missing(a, b)):
            room -= gap[1] - gap[0]
            if room < 0:
                break  # would drive out what came first; a damaged file may say any length
            gaps.append(gap)
        self._bring(gaps)

    def is_near(self, start: int, stop: int) -> bool:
        return not self._pieces.missing(start, min(stop, self.version.size))

    def distrust(self) -> None:
        self._pieces.clear()
        if self._blocks is not None:
            self._blocks.clear()

    def same_file(self) -> bool:
        """Ask the server whether the file is still the one that was opened."""
        try:
            self._check_open()
            self._attempts((0, 1))
            self._confirm()
        except (Changed, Missing, StaleHandleError):
            return False
        return True

    def _take(self, start: int, stop: int) -> bytes:
        found = self._pieces.get(start, stop)
        if found is not None:
            return found
        if stop - start > KEPT_BYTES // 4:
            # Would only drive out everything else.
            whole = bytearray(stop - start)  # no request, if that is more than there is memory
            step = MOST_BYTES * AT_ONCE
            for at in range(start, stop, step):
                data = self._fetch(_cut([(at, min(at + step, stop))]))
                whole[at - start : at - start + sum(map(len, data))] = b"".join(data)
            return bytes(whole)
        self._bring(self._pieces.missing(start, stop))
        found = self._pieces.get(start, stop)
        # Other threads may have driven it out at once.
        return b"".join(self._fetch([(start, stop)])) if found is None else found

    def _bring(self, gaps: Sequence[Range]) -> None:
        ranges = _cut(gaps)
        for (start, _), data in zip(ranges, self._fetch(ranges), strict=True):
            self._pieces.put(start, data)

    def _fetch(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes of ranges, from the folder or by requests at the same time."""
        if self._blocks is None or not ranges:
            return self._get_all(ranges)
        cache = self._blocks
        numbers = sorted({n for a, b in ranges for n in cache.blocks_of(a, b)})
        blocks = {n: cache.get(n) for n in numbers}
        absent = [n for n, data in blocks.items() if data is None]
        runs = _cut(merged([cache.range_of(n) for n in absent], gap=0))
        for (start, stop), data in zip(runs, self._get_all(runs), strict=True):
            for n in cache.blocks_of(start, stop):
                a, b = cache.range_of(n)
                block = blocks[n] = data[a - start : b - start]
                cache.put(n, block)
        found = []
        for a, b in ranges:
            own = cache.blocks_of(a, b)
            data = b"".join([blocks[n] or b"" for n in own])
            begin = cache.range_of(own[0])[0]
            found.append(data[a - begin : b - begin])
        return found

    # Requests

    def _get_all(self, ranges: Sequence[Range]) -> list[bytes]:
        if not ranges:
            return []
        with self._counting:
            self.rounds += -(-len(ranges) // AT_ONCE)
        if len(ranges) == 1:
            found = [self._request(ranges[0])]
        else:
            found = list(_executor().map(self._request, ranges))
        try:
            self._confirm()
        except (Changed, Missing) as error:
            raise self._stale(str(error)) from None
        return found

    def _confirm(self) -> None:
        def once(start: int, stop: int) -> bytes:
            self._transport.confirm(self.version)
            return b""

        persist(once, (0, 0), name=self.name, timeout_s=self._timeout_s)

    def _request(self, wanted: Range) -> bytes:
        if self.forked:
            raise StorageError(
                f"{self.name!r} was opened before a fork, and connections do not survive one: "
                "start workers by 'spawn' or 'forkserver', and open it in each"
            )
        try:
            return self._attempts(wanted)
        except Changed as error:
            raise self._stale(str(error)) from None
        except Missing:
            if self._version is None:
                found = StoreNotFoundError(f"there is no file at {self.name!r}")
                found.filename = self.name
                raise found from None
            raise self._stale("it is not there any more") from None

    def _attempts(self, wanted: Range) -> bytes:
        return persist(self._once, wanted, name=self.name, timeout_s=self._timeout_s)

    def _once(self, start: int, stop: int) -> bytes:
        with self._counting:
            self.requests += 1
        try:
            data, version = self._transport.get(start, stop, self._version)
        except Transient as error:
            with self._counting:
                self.request_bytes += len(error.data)
            self._version = self._version or error.version
            raise
        with self._counting:
            self.request_bytes += len(data)
        expected = max(0, min(stop, version.size) - start)
        if len(data) == version.size > expected:
            raise StorageError(
                f"{self.name!r}: the server sends the whole file where a range is asked for: "
                "download it and open the copy"
            )
        if self._version is None:
            self._version = version
        if len(data) > expected:
            raise Transient(f"more came than the {expected:,} bytes that were asked for")
        if len(data) < expected:
            self._transport.confirm(self._version)  # else it would be put together of two contents
            raise Transient(
                f"{len(data):,} bytes came where {expected:,} were asked for", data=data
            )
        return data

    def _stale(self, what: str) -> StaleHandleError:
        return StaleHandleError(
            f"{self.name!r} has changed on the server since it was opened ({what}): what was "
            "read before is of one commit; open it again to see the new file"
        )

    # What a reader cannot do

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        self._refuse()

    def resize(self, n: int) -> None:
        self._refuse()

    def sync(self) -> None:
        self._refuse()

    def sync_directory(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        self._check_open()
        raise ReadOnlyError(f"{self.name!r} is read over the network; write to a local file")

    # Life

    def close(self) -> None:
        self._closed = True
        self._pieces.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self.name!r} is closed")

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._counting = threading.Lock()
        self._pieces.after_fork_in_child()
        self.locks._fresh_mutex()


def merged(ranges: Sequence[Range], gap: int = SMALL_GAP) -> list[Range]:
    """Return ranges in order, those near each other as one.

    Parameters
    ----------
    gap : int
        Bytes between two that are always worth it; 0 joins only what touches.
    """
    runs: list[Range] = []
    for start, stop in sorted(r for r in ranges if r[1] > r[0]):
        if runs:
            begin, end = runs[-1]
            most = max(gap, (end - begin + stop - start) // 8) if gap else 0
            if start - end <= most:
                runs[-1] = begin, max(end, stop)
                continue
        runs.append((start, stop))
    return runs


def _cut(ranges: Sequence[Range]) -> list[Range]:
    """Return ranges of at most `MOST_BYTES`."""
    return [
        (at, min(at + MOST_BYTES, stop))
        for start, stop in ranges
        for at in range(start, stop, MOST_BYTES)
    ]


_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="kist-remote")
        return _pool


def _after_fork_in_child() -> None:
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
