"""Attacks on a file with sealed columns, which ship as files: what a holder of the secrets sees."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.errors import CorruptDataError, SecretError, TamperedDataError, WrongSecretError

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "sealed"
VECTORS = sorted((FOLDER / "attacks").glob("*.json"))
FAILURES = {
    "damage": CorruptDataError,
    "tampered": TamperedDataError,
    "wrong secret": WrongSecretError,
    "no secret": SecretError,
}


def made(vector: dict[str, Any]) -> bytes:
    """Return the file of a vector."""
    old = (FOLDER / vector["file"]).read_bytes()
    new = bytearray(old[: vector["size"]].ljust(vector["size"], b"\0"))
    for at, what, *n in vector["changes"]:
        part = b64decode(what) if not n else old[what : what + n[0]]
        new[at : at + len(part)] = part
    assert hashlib.sha256(new).hexdigest() == vector["sha256"]
    return bytes(new)


def secrets_of(vector: dict[str, Any]) -> Any:
    given = vector["secrets"]
    if isinstance(given, dict):
        return {name: bytes.fromhex(one) for name, one in given.items()}
    return [bytes.fromhex(one) for one in given]


def read(path: Path, vector: dict[str, Any]) -> dict[str, Any]:
    with kist.open(path, secrets=secrets_of(vector)) as store:
        return {name: store["t"][name][:] for name in vector["read"]}


@pytest.mark.filterwarnings("ignore::kist.DamageWarning")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one.stem)
def test_an_attack_is_seen_and_nothing_is_shown(vector: Path, path: Path) -> None:
    told = json.loads(vector.read_text(encoding="utf-8"))
    path.write_bytes(made(told))
    if told["expect"] == "opens":
        assert read(path, told).keys() == set(told["read"])
        return
    kind = FAILURES[told["expect"]]
    with pytest.raises(kind) as caught:
        read(path, told)
    if told["expect"] == "damage":
        assert not isinstance(caught.value, TamperedDataError)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one.stem)
def test_nobody_with_the_secrets_builds_on_it(vector: Path, path: Path) -> None:
    told = json.loads(vector.read_text(encoding="utf-8"))
    if told["expect"] == "opens":
        return
    path.write_bytes(made(told))
    before = path.read_bytes()
    row = np.zeros(1, [("id", "<i4"), ("a", "<i8"), ("b", "<i8"), ("c", "<i8")])
    with (
        pytest.raises((*FAILURES.values(), kist.KistError)),
        kist.open(path, "r+", secrets=secrets_of(told)) as store,
    ):
        store["t"].append(row)
        # An append does not look at pages of old: they are still not shown.
        assert told["expect"] in ("tampered", "damage")
        store["t"]["c"][:]
    assert before[:272] == path.read_bytes()[:272]


def test_each_attack_that_is_known_ships() -> None:
    from test_sealed_attacks import TAMPERED

    names = {one.stem for one in VECTORS}
    for label in TAMPERED:
        assert label.replace(": ", "-").replace("_", "-").replace(" ", "-") in names
    more = {"old-page", "other-file", "taken-away", "flipped-bit", "cut-off", "wrong-secret"}
    assert more | {"one-secret", "whole"} < names
