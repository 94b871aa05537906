"""A web server on loopback that answers range requests, counts them, and fails when told to.

::

    with RangeServer({"/lab.kist": data}) as server:
        server.faults.append(Fault("status", status=503))     # of the next request
        store = kist.open(server.url("/lab.kist"))
        server.requests                                       # what was asked, in order

Standard library only, so that whoever tests a reader of their own can use it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, NamedTuple

__all__ = ["Fault", "RangeServer", "Request"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class Request(NamedTuple):
    """One request as it came.

    Attributes
    ----------
    path : str
        With its query.
    start, stop : int
        What was asked for, cut where the file ends; the whole file without a range.
    """

    path: str
    start: int
    stop: int

    @property
    def n(self) -> int:
        """Bytes asked for."""
        return self.stop - self.start


@dataclass
class Fault:
    """What goes wrong with one request.

    Attributes
    ----------
    kind : str
        ``status``: this status instead of an answer. ``cut``: the connection ends in the middle
        of the body. ``short``: fewer bytes than asked for, and said so. ``shifted``: bytes of
        another place under the range asked for. ``flip``: one bit in the middle of the body.
        ``gzip``: the body packed, and said so. ``endless``: bytes until the client hangs up.
        ``stall``: no answer until the server is closed. ``hang``: half of the body, and nothing
        more until then.
    status : int
        For ``status``.
    headers : mapping of str to str
        For ``status``, such as ``Retry-After``.
    times : int
        How many requests meet it.
    """

    kind: Literal["status", "cut", "short", "shifted", "flip", "gzip", "endless", "stall", "hang"]
    status: int = 500
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


class RangeServer:
    """Files in memory behind ``http://127.0.0.1``.

    Parameters
    ----------
    files : mapping of str to bytes
        By path, which begins with a slash. May be changed while the server runs.
    ranges : bool
        Whether ranges are honoured; else every answer is the whole file with status 200.
    etags : {"strong", "weak", "none"}
        What tells versions apart beside the length.
    latency_s : float
        Slept before each answer.
    redirects : mapping of str to str
        Paths that are answered with another path or address.

    Attributes
    ----------
    faults : deque of Fault
        For the next requests.
    requests : list of Request
        Answered or refused, in the order they came.
    bytes_endless : int
        Sent in answers without end.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        ranges: bool = True,
        etags: Literal["strong", "weak", "none"] = "strong",
        latency_s: float = 0.0,
        redirects: Mapping[str, str] | None = None,
    ) -> None:
        self.files = dict(files)
        self.redirects = dict(redirects or {})
        self.ranges = ranges
        self.etags = etags
        self.latency_s = latency_s
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.bytes_endless = 0
        self._mutex = threading.Lock()
        self._tags: dict[int, str] = {}
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.of = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="range server"
        )
        self._thread.start()

    def url(self, path: str) -> str:
        """Address of a file."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    @property
    def bytes_asked(self) -> int:
        """Bytes of all requests."""
        return sum(request.n for request in self.requests)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._mutex:
            self.requests.clear()

    def close(self) -> None:
        """End the server; no thread and no port stay behind."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> RangeServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What the handler needs

    def tag_of(self, data: bytes) -> str:
        """ETag of some bytes."""
        with self._mutex:
            tag = self._tags.get(id(data))
            if tag is None:
                tag = self._tags[id(data)] = hashlib.sha256(data).hexdigest()[:20]
        return f'W/"{tag}"' if self.etags == "weak" else f'"{tag}"'

    def note(self, path: str, start: int, stop: int) -> Fault | None:
        """Count a request; returns the fault that it meets."""
        with self._mutex:
            self.requests.append(Request(path, start, stop))
            if not self.faults:
                return None
            fault = self.faults[0]
            fault.times -= 1
            if fault.times <= 0:
                self.faults.popleft()
            return fault

    def stall(self) -> None:
        """Wait for the end."""
        self._closing.wait()

    @property
    def is_closing(self) -> bool:
        """Whether the end has come."""
        return self._closing.is_set()


class _Server(ThreadingHTTPServer):
    of: RangeServer
    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 0.2  # of idle connections, so that closing does not wait for clients
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server = self.server.of
        data = server.files.get(self.path.split("?")[0])
        start, stop, ranged = self._wanted(0 if data is None else len(data))
        fault = server.note(self.path, start, stop)
        if server.latency_s:
            time.sleep(server.latency_s)
        if fault is not None and fault.kind == "stall":
            server.stall()
            self.close_connection = True
            return
        if fault is not None and fault.kind == "status":
            self._refuse(fault.status, fault.headers)
            return
        if (target := server.redirects.get(self.path.split("?")[0])) is not None:
            self._refuse(302, {"Location": target})
            return
        if data is None:
            self._refuse(404)
            return
        match = self.headers.get("If-Match")
        if match is not None and match != server.tag_of(data):
            self._refuse(412)
            return
        if ranged and start >= len(data):
            self._refuse(416)
            return
        self._send(data, start, stop, ranged, fault, body)

    def _wanted(self, size: int) -> tuple[int, int, bool]:
        found = _RANGE.match(self.headers.get("Range", ""))
        if found is None or not self.server.of.ranges:
            return 0, size, False
        first, last = found[1], found[2]
        if not first:
            return max(0, size - int(last)), size, True
        return int(first), min(size, int(last) + 1 if last else size), True

    def _send(
        self, data: bytes, start: int, stop: int, ranged: bool, fault: Fault | None, body: bool
    ) -> None:
        part = data[start:stop]
        kind = None if fault is None else fault.kind
        if kind == "short":
            part = part[: len(part) // 2]
        elif kind == "shifted":
            part = (data[start + 1 : stop] + data[:1])[: len(part)]
        elif kind == "flip" and part:
            at = len(part) // 2
            part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
        said = len(part)
        if kind == "gzip":
            part = gzip.compress(part, 1)
        self.send_response(206 if ranged else 200)
        if kind == "gzip":
            self.send_header("Content-Encoding", "gzip")
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{start + said - 1}/{len(data)}")
        self.send_header("Content-Length", str(1 << 40 if kind == "endless" else len(part)))
        if self.server.of.etags != "none":
            self.send_header("ETag", self.server.of.tag_of(data))
        self.end_headers()
        if kind in ("cut", "hang"):
            part = part[: len(part) // 2]
            self.close_connection = True
        if body:
            self.wfile.write(part)
        if kind == "endless":
            self.close_connection = True
            self._send_on()
        if kind == "hang":
            self.wfile.flush()
            self.server.of.stall()

    def _send_on(self) -> None:
        server = self.server.of
        with suppress(OSError):  # the client has hung up
            while not server.is_closing:
                self.wfile.write(bytes(1 << 16))
                server.bytes_endless += 1 << 16

    def _refuse(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
