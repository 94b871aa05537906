"""Reading from S3, as moto plays it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import StaleHandleError, StorageError, StoreNotFoundError

obstore = pytest.importorskip("obstore")
moto = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/example", method="PUT")).close()
        yield {
            "endpoint": endpoint,
            "region": "us-east-1",
            "access_key_id": "a",
            "secret_access_key": "b",
            "client_options": {"allow_http": True},
        }
    finally:
        server.stop()


def put(s3: dict[str, Any], key: str, data: bytes) -> None:
    obstore.put(obstore.store.from_url("s3://example", **s3), key, data)


def made(path: Path, n: int) -> bytes:
    with kist.open(path / "a.kist", "w") as store:
        store["trades"] = np.rec.fromarrays([np.arange(n), np.arange(n) / 3], names="id,price")
        store.backup(path / "b.kist", compact=True, overwrite=True)
    return (path / "b.kist").read_bytes()


def test_a_table_in_a_bucket_is_read_by_ranges(s3: dict[str, Any], tmp_path: Path) -> None:
    put(s3, "deep/er/a b.kist", made(tmp_path, 100_000))
    with kist.open("s3://example/deep/er/a b.kist", storage_options=s3) as store:
        backend: Any = store._session.engine.backend
        assert backend.requests == 2
        assert store.path == "s3://example/deep/er/a b.kist"
        assert store["trades"].where("id == 77_777")["price"][0] == 77_777 / 3
        put(s3, "deep/er/a b.kist", made(tmp_path, 100_001))
        with pytest.raises(StaleHandleError, match="open it again"):
            store.refresh()
        backend.distrust()
        with pytest.raises(StaleHandleError, match="etag"):
            store["trades"]["price"][:]


def test_an_object_that_is_not_there(s3: dict[str, Any]) -> None:
    with pytest.raises(StoreNotFoundError, match="s3://example/none"):
        kist.open("s3://example/none", storage_options=s3)


def test_an_option_that_there_is_not(s3: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="storage_options"):
        kist.open("s3://example/none", storage_options=s3 | {"no_such_option": 1})


def test_an_option_of_the_client_among_the_others_is_an_error_of_kist() -> None:
    # obstore panics, which is no Exception.
    with pytest.raises(StorageError, match=r"allow_http, in client_options="):
        kist.open("s3://example/a.kist", storage_options={"allow_http": "true"})
