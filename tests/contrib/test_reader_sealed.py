"""The second reader agrees with every vector of sealed bodies and locks."""

from __future__ import annotations

import hashlib
import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = sorted((HERE.parent / "golden" / "sealed").glob("*.json"))

pytest.importorskip("cryptography")
sys.path.insert(0, str(HERE.parents[1] / "contrib" / "reader"))

from kist_sealed import Tampered, WrongSecret, open_lock, unseal  # noqa: E402
from kist_types import Damage, Unknown  # noqa: E402

FAILURES = {
    "damage": Damage,
    "unsupported": Unknown,
    "tampered": Tampered,
    "wrong secret": WrongSecret,
}


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_a_vector_opens_or_fails_as_it_says(path: Path) -> None:
    vector: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    expect = vector["expect"]
    keys = {bytes.fromhex(n): bytes.fromhex(k) for n, k in vector.get("keys", {}).items()}

    def run() -> object:
        if "body" in vector:
            return hashlib.sha256(unseal(b64decode(vector["body"]), keys)).hexdigest()
        given = vector["secret"]
        secret = bytes.fromhex(given["raw"]) if "raw" in given else given["passphrase"]
        return open_lock(b64decode(vector["lock"]), secret)

    if expect in FAILURES:
        with pytest.raises(FAILURES[expect]):
            run()
    elif expect == "plain":
        assert run() == vector["sha256"]
    else:
        assert expect == "opens"
        opened = run()
        assert opened == keys and isinstance(opened, dict) and list(opened) == list(keys)
