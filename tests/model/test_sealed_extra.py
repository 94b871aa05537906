"""Sealed columns where the package that seals them is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.crypto import aead

KEY = bytes(range(32))
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "sealed" / "table.kist"
MISSING = r"sealed data: .*pip install 'kist\[crypto\]'"


@pytest.fixture(autouse=True)
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    aead._library.cache_clear()  # it was installed for other tests
    known = [name for name in sys.modules if name.partition(".")[0] == "cryptography"]
    for name in ("cryptography", "cryptography.hazmat.primitives.ciphers.aead", *known):
        monkeypatch.setitem(sys.modules, name, None)


def test_sealing_names_the_extra_and_makes_nothing(path: Path) -> None:
    rows = np.zeros(3, "i4,f8")
    with kist.open(path, "w") as store:
        with pytest.raises(ImportError, match=MISSING):
            store.create_table("t", rows, encrypt={"f1": KEY})
        assert "t" not in store
        store["t"] = rows  # what is open needs no extra
    with kist.open(path, secrets=KEY) as store:
        assert len(store["t"]) == 3


def test_reading_what_is_sealed_names_the_extra_and_open_columns_need_none() -> None:
    with kist.open(GOLDEN, secrets=KEY) as store:
        assert store["t"]["id"][:3].tolist() == [0, 1, 2]
        for read in (lambda: store["t"]["x"][:], lambda: store["t"].where("y > 5").count()):
            with pytest.raises(ImportError, match=MISSING):
                read()
    with kist.open(GOLDEN) as store, pytest.raises(kist.SecretError, match="no secret was given"):
        store["t"]["x"][:]


def test_a_change_names_the_extra_and_changes_nothing(path: Path) -> None:
    path.write_bytes(GOLDEN.read_bytes())
    with kist.open(path, "r+", secrets=KEY) as store:
        with pytest.raises(ImportError, match=MISSING):
            store["t"].append((1, b"Ann", 2.0, 3))
        store["new"] = [1, 2]
    with kist.open(path) as store:
        assert len(store["t"]) == 5_000 and store["new"][:].tolist() == [1, 2]
