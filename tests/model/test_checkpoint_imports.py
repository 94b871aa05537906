"""What a first checkpoint loads."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import kist

with kist.open(":memory:") as store:
    store.create_keystore("k")["a"] = 1
    store["x"] = [1, 2, 3]
    store._session.engine.checkpoint()
    assert "kist.model.tables.changes.fold" not in sys.modules
    table = store.create_table("t", {"a": [1, 2, 3]})
    for _ in range(20):
        table.append({"a": [4]})
    store._session.engine.checkpoint()
    assert "kist.model.tables.changes.fold" in sys.modules
    assert len(table) == 23
"""


def test_the_folding_of_tables_is_loaded_when_there_is_a_table() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
