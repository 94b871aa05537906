"""Files behind https, S3, Google Cloud Storage and Azure: one range by one request of obstore."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kist.errors import StorageError
from kist.extras import need
from kist.storage.transport import BUSY, Changed, Missing, Transient, Transport, Version, passes

__all__ = ["ObjectStoreTransport", "is_url"]

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_STATUS = re.compile(r"status code: (\d{3})")


def is_url(path: str) -> bool:
    """Tell whether a path is the address of a file elsewhere."""
    return _SCHEME.match(path) is not None


def shown(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class ObjectStoreTransport(Transport):
    """A file reached by obstore.

    Parameters
    ----------
    url : str
        ``https://``, ``http://``, ``s3://``, ``gs://``, ``az://``, ``file://``.
    options : mapping
        Of obstore: ``region``, ``endpoint``, ``access_key_id``, ``skip_signature``,
        ``client_options``... What is not said comes from the environment, as with the tools of the
        provider.
    timeout_s : float
        Longest time for one request.
    """

    def __init__(self, url: str, options: Mapping[str, Any], timeout_s: float) -> None:
        url = url.partition("://")[0].lower() + url[url.index("://") :]
        try:
            self.name = shown(url)
        except ValueError as error:
            raise StorageError(f"no address can be like this: {error}") from None
        self._obstore = need("obstore", "remote", f"{self.name!r} is read over the network")
        stores = need("obstore.store", "remote", f"{self.name!r} is read over the network")
        given = dict(options)
        client = {"timeout": timedelta(seconds=timeout_s)}
        if url.startswith("http://"):
            client["allow_http"] = True  # type: ignore[assignment]  # the user wrote it
        given["client_options"] = client | dict(given.get("client_options", {}))
        # Repeated by `RemoteBackend`, for all transports alike and with the bodies.
        given.setdefault("retry_config", {"max_retries": 0})
        try:
            # The whole address is the base: a signed query then stays with every request.
            self._store = stores.from_url(url, **given)
        except BaseException as error:
            # Options of the client that stand among the others, say, make it panic.
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            raise StorageError(
                f"{self.name!r} cannot be opened: {_reason(error)}; addresses are https:, "
                "s3://example/key, gs://bucket/key, az://account/container/key, and "
                "storage_options are those of obstore, with those of its client, such as "
                "allow_http, in client_options={...}; what else fsspec knows is opened by "
                "kist.open(fsspec.open(...))"
            ) from None
        self._errors = need("obstore.exceptions", "remote", "errors of obstore")

    def get(self, start: int, stop: int, version: Version | None) -> tuple[bytes, Version]:
        options: dict[str, Any] = {"range": (start, stop)}
        # A weak tag never matches (RFC 9110, If-Match); it is compared below like the others.
        if version is not None and version.etag and not version.etag.startswith("W/"):
            options["if_match"] = version.etag
        try:
            answer = self._obstore.get(self._store, "", options=options)
        except FileNotFoundError:
            raise Missing from None
        except self._errors.PreconditionError as error:
            if "if_match" not in options:  # nor any other condition
                raise self._refused_request(error) from None
            raise Changed(f"etag {options['if_match']} is no longer that of the file") from None
        except self._errors.NotSupportedError as error:
            raise self._no_ranges() from error
        except (self._errors.UnauthenticatedError, self._errors.PermissionDeniedError) as error:
            raise self._refused(error) from None
        except (self._errors.BaseError, OSError) as error:
            self._failed(error, version)
            return b"", Version(0)
        except BaseException as error:
            if not _is_panic(error):
                raise
            raise StorageError(f"{self.name!r} cannot be read: {_reason(error)}") from None
        meta = answer.meta
        modified = meta["last_modified"]
        found = Version(
            meta["size"],
            meta["e_tag"] or "",
            modified.isoformat() if modified.timestamp() > 0 else "",  # 1970 stands for none
        )
        if version is not None and (difference := version.difference(found)):
            raise Changed(difference)
        encoding = answer.attributes.get("Content-Encoding", "identity")
        chunks: list[Any] = []
        n = 0
        try:
            for chunk in answer.stream(min_chunk_size=1):  # as it comes: none is lost
                chunks.append(chunk)
                n += len(chunk)
                if n > stop - start:
                    break  # whoever sends more than was asked for could send without end
        except (self._errors.BaseError, OSError) as error:
            # What is packed cannot be continued where it broke.
            data = b"".join(chunks) if encoding == "identity" else b""
            raise Transient(_reason(error), data=data, version=found) from None
        if encoding != "identity" and n != min(stop, found.size) - start:
            # Objects may be labelled so, and come as they are: then the length is right.
            raise StorageError(
                f"{self.name!r}: the server packs its answers ({encoding}), and what is asked for "
                "are bytes of the file as it is: switch that off for this file, or download it "
                "and open the copy"
            )
        return b"".join(chunks), found

    def _no_ranges(self) -> StorageError:
        return StorageError(
            f"{self.name!r}: the server does not answer requests for a range of bytes, and a "
            "store is not read as a whole to show a part of it: download the file and open the "
            "copy, or put it on a server with range requests (any object store, nginx, Apache)"
        )

    def _refused(self, error: Exception) -> StorageError:
        found = StorageError(
            f"{self.name!r}: access was refused ({_reason(error)}); give credentials in "
            "storage_options= or in the environment, or skip_signature=True for a public bucket"
        )
        found.errno, found.filename = errno.EACCES, self.name
        return found

    def _refused_request(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self.name!r}: the server refused the request ({_reason(error)}); is the "
            "address right, and the region in storage_options?"
        )

    def _failed(self, error: Exception, version: Version | None) -> None:
        """Raise what a failure means; return when the file is empty."""
        message = str(error)
        if "169.254." in message or "latest/api/token" in message:
            # Without credentials obstore asks the machine that it may run on.
            raise self._refused(
                StorageError("no credentials were found, nor given by the machine")
            ) from None
        status = _STATUS.search(message)
        code = int(status[1]) if status else 0
        if code == 416:
            if version is None:
                return  # of a file with a byte in it, its first range can be had
            raise Changed("it is shorter now")
        if not passes(code):
            raise self._refused_request(error) from None
        reason = _reason(error)
        if reason.endswith("following redirect"):
            raise StorageError(
                f"{self.name!r}: the server redirects in a circle, or to an address without https"
            ) from None
        raise Transient(reason, is_busy=code in BUSY) from None


def _is_panic(error: BaseException) -> bool:
    """Tell whether Rust gave up; no Exception, and obstore has no name for it."""
    return type(error).__name__ == "PanicException"


def _reason(error: BaseException) -> str:
    """Return what went wrong, without addresses and traces of the library."""
    first = str(error).strip().split("\n")[0]
    return first.rsplit(" - ", 1)[-1].rstrip(": ") or type(error).__name__
