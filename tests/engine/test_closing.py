"""What closing leaves to whoever opens the file next."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kist.engine import Engine
from kist.engine.writer import LONG_LOG
from kist.errors import CorruptDataError, DamageWarning
from kist.format import keys

NODE = 7


def opened(path: Path, **options: Any) -> closing[Engine]:
    return closing(Engine.open(path, **options))


def unfolded(engine: Engine) -> int:
    """Commits that opening has replayed."""
    return engine.commit - max(slot.commit for slot in engine.slots if slot)


def put(engine: Engine, n: int) -> None:
    for number in range(n):
        txn = engine.begin()
        txn.put(keys.group(NODE, number), b"\0")
        txn.commit()


@pytest.mark.parametrize("durability", ["relaxed", "none"])
def test_a_long_log_is_folded_at_close(tmp_path: Path, durability: str) -> None:
    with opened(tmp_path / "a.kist", mode="w", durability=durability) as engine:
        put(engine, LONG_LOG + 5)
    with opened(tmp_path / "a.kist", mode="r") as engine:
        assert unfolded(engine) <= 1
        assert engine.snapshot().get(keys.group(NODE, LONG_LOG + 4)) == b"\0"


def test_a_short_log_is_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "a.kist", mode="w", durability="relaxed") as engine:
        put(engine, 20)
    with opened(tmp_path / "a.kist", mode="r") as engine:
        assert unfolded(engine) >= 20


def test_a_long_log_is_left_to_another_writer(tmp_path: Path) -> None:
    first = Engine.open(tmp_path / "a.kist", mode="w", durability="relaxed")
    put(first, LONG_LOG + 5)
    second = Engine.open(tmp_path / "a.kist", mode="r+")
    txn = second.begin()
    first.close()  # does not wait for the other
    txn.put(keys.group(NODE, 0), b"\0x")
    txn.commit()
    second.close()
    with opened(tmp_path / "a.kist", mode="r") as engine:
        assert engine.snapshot().get(keys.group(NODE, 0)) == b"\0x"


def test_damage_keeps_nobody_from_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(engine: Engine, *args: Any, **kwargs: Any) -> None:
        raise CorruptDataError("an extent was freed twice")

    engine = Engine.open(tmp_path / "a.kist", mode="w", durability="relaxed")
    put(engine, LONG_LOG + 5)
    monkeypatch.setattr(Engine, "checkpoint", damaged)
    with pytest.warns(DamageWarning, match="the log was not folded .* freed twice"):
        engine.close()
    monkeypatch.undo()
    with opened(tmp_path / "a.kist", mode="r+") as engine:
        assert unfolded(engine) > LONG_LOG
        assert engine.snapshot().get(keys.group(NODE, LONG_LOG + 4)) == b"\0"
        put(engine, 1)
