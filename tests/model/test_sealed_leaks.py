"""Nothing of a sealed column stands in the file, nor in what a sort puts aside."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from traceback import TracebackException
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
from kist.errors import SecretError, WeakSecretWarning
from kist.model.tables.query import spill

KEY = bytes(range(32))
FULL = 66_000


def marks(kind: str, n: int, salt: int) -> list[Any]:
    """Values that are recognised wherever they stand."""
    if kind == "text":
        return [f"SECRETWORD{salt}x{i % 50:04d}" for i in range(n)]
    return [0x5EC2E700_0000_0000 + salt * 0x1_0000 + i % 50 for i in range(n)]


def needles(kind: str, salts: range) -> list[bytes]:
    if kind == "text":
        return [b"SECRETWORD", "SECRETWORD".encode("utf-16-le"), "SECRETWORD".encode("utf-32-le")]
    return [(0x5EC2E700_0000_0000 + salt * 0x1_0000).to_bytes(8, "little")[2:] for salt in salts]


KINDS: dict[str, tuple[str, Any]] = {
    "int": ("int", "i8"),
    "bytes": ("text", "S18"),
    "str": ("text", "U18"),
    "strings": ("text", np.dtypes.StringDType()),
    "nested": ("int", [("a", "i8"), ("b", "f4")]),
    "ragged": ("int", kist.ragged("i8")),
}


def column(kind: str, dtype: Any, n: int, salt: int) -> Any:
    values = marks(kind, n, salt)
    if isinstance(dtype, list):
        out = np.zeros(n, dtype)
        out["a"] = values
        return out
    if dtype is KINDS["ragged"][1]:
        return [np.array([v, v], "i8") for v in values]
    return np.array(values, dtype)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("sealed", [True, False])
def test_no_value_stands_in_the_file_in_any_form(name: str, sealed: bool, path: Path) -> None:
    """Whole pages, one constant, small appends, patches, statistics, rewritten and folded pieces.

    The same without sealing finds each: the search can find something.
    """
    kind, dtype = KINDS[name]
    n = FULL if name not in ("ragged",) else 5_000
    encrypt = {"v": KEY} if sealed else None
    with kist.open(path, "w") as store:
        spec = {"id": np.dtype("i8"), "v": dtype if name == "ragged" else np.dtype(dtype)}

        def rows(n: int, salt: int) -> dict[str, Any]:
            return {"id": np.arange(n), "v": column(kind, dtype, n, salt)}

        t = store.create_table("t", rows(n, 1), dtype=spec, encrypt=encrypt)  # pages
        one = column(kind, dtype, 1, 2)
        constant = one * 5_000 if name == "ragged" else np.repeat(one, 5_000)
        t.append({"id": np.arange(5_000), "v": constant})
        for _ in range(40):
            t.append(rows(3, 3))  # pieces, folded by checkpoints
        t["v"][5:9] = column(kind, dtype, 4, 4)  # a patch
        t["v"][5_000 : 5_000 + n // 5] = column(kind, dtype, n // 5, 5)  # pages written again
        t.append(rows(600, 6))  # a piece in an extent
        t.delete(range(30))
        assert t["v"][0] is not None
    data = path.read_bytes()
    found = [needle for needle in needles(kind, range(1, 7)) if needle in data]
    if sealed:
        assert not found
    else:
        assert found


def test_what_a_sort_puts_aside_is_sealed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[io.BytesIO] = []

    def kept(**_: Any) -> Kept:
        seen.append(io.BytesIO())
        return Kept(seen[-1])

    monkeypatch.setattr(spill.tempfile, "TemporaryFile", kept)
    kist.options.max_memory = 1 << 20
    try:
        with kist.open(path, "w") as store:
            rows = {"id": np.arange(90_000), "v": column("int", "i8", 90_000, 1)}
            rows["v"] = rows["v"][::-1].copy()
            t = store.create_table("t", rows, encrypt={"v": KEY})
            expected = np.sort(rows["v"])
            found = np.concatenate([block["v"] for block in t.sort_by("v").blocks(20_000)])
            np.testing.assert_array_equal(found, expected)
    finally:
        kist.options.reset()
    data = b"".join(file.getvalue() for file in seen)
    assert len(data) > 500_000, "nothing was put aside"
    assert not any(needle in data for needle in needles("int", range(1, 2)))


class Kept:
    """A temporary file whose bytes stay."""

    def __init__(self, file: io.BytesIO) -> None:
        self.seek, self.write, self.readinto = file.seek, file.write, file.readinto

    def close(self) -> None:
        """Keep what was written."""


@pytest.mark.parametrize("kind", ["int", "bytes"])
@pytest.mark.parametrize("n", [7, 5_000])
def test_a_linked_table_shows_what_is_open_and_notes_nothing_of_the_rest(
    kind: str, n: int, tmp_path: Path
) -> None:
    """Bounds of columns stand in a link: of small appends, and of pages."""
    text, dtype = KINDS[kind]
    for name in "ab":
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            spec = {"id": np.dtype("i8"), "v": np.dtype(dtype)}
            rows = {"id": np.arange(n), "v": column(text, dtype, n, 1)}
            store.create_table("t", rows, dtype=spec, encrypt={"v": KEY})
    path = tmp_path / "l.kist"
    with kist.open(path, "w", secrets=KEY) as store:
        store.create_union("all", "t", files=["a.kist", "b.kist"])
        linked = store["all"]
        assert linked.where("id == 3")["id"][:].tolist() == [3, 3]
        assert len(linked["v"][:]) == 2 * n  # the secrets of this handle
    with kist.open(path) as store:
        assert store["all"].where("id == 3")["id"][:].tolist() == [3, 3]
        with pytest.raises(kist.SecretError, match="'v' is sealed"):
            store["all"]["v"][:]
    data = path.read_bytes()
    assert not any(needle in data for needle in needles(text, range(1, 2)))


@pytest.mark.parametrize(
    "store_again",
    [
        lambda store, rows: store.create_table("new", rows),
        lambda store, rows: store.__setitem__("new", rows),
        lambda store, rows: store["clear"].append(rows),
        lambda store, rows: store["clear"].insert(1, rows),
        lambda store, rows: store["clear"].upsert(rows, on="id"),
    ],
    ids=["create", "assign", "append", "insert", "upsert"],
)
@pytest.mark.parametrize(
    "rows_of",
    [lambda t: t, lambda t: t.where("id < 3"), lambda t: t.sort_by("id")[["v", "id"]]],
    ids=["table", "selection", "columns"],
)
def test_rows_of_sealed_columns_are_stored_in_clear_only_by_who_reads_them(
    path: Path, store_again: Any, rows_of: Any
) -> None:
    rows = np.zeros(5, [("id", "i4"), ("v", "i8")])
    rows["id"] = np.arange(5)
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows, encrypt={"v": KEY})
        clear = store.create_table("clear", rows)
        refusal = (kist.SecretError, kist.DTypeError)  # tables are copied, not assigned
        with pytest.raises(refusal, match=r"'v' is sealed in '/t'|use copy"):
            store_again(store, rows_of(t))
        assert "new" not in store and len(clear) == 5
        # What is open, what is sealed again, and what was read are stored as ever.
        store.create_table("ids", t[["id"]])
        store.create_table("sealed", rows_of(t), encrypt={"v": KEY}).append(rows_of(t))
        clear.append(t[:])
        t.append(t)
        assert len(clear) == len(t) == 10


PHRASE = "four words that nobody may see"


def _failing(folder: Path) -> dict[str, Callable[[], object]]:
    """Calls with secrets that fail, each in another place."""
    here, whole = folder / "a.kist", folder / "whole.kist"
    with kist.open(here, "w") as store:
        store.create_table("t", {"a": np.arange(3)}, encrypt=PHRASE)
        store["open"] = np.arange(3)
        store["clear"] = np.zeros(3, [("a", "i4")])
    kist.open(whole, "x", encrypt=PHRASE).close()
    sealed = kist.open(whole, "r+", secrets=PHRASE)
    made = kist.open(here, "r+")
    return {
        "split": lambda: kist.split(here, "t", rows=2, parts=2, secrets=PHRASE, encrypt=PHRASE),
        "merge": lambda: kist.merge(str(here), folder / "m.kist", secrets=PHRASE, encrypt=PHRASE),
        "shelf": lambda: kist.shelf(here, "q", secrets=PHRASE, encrypt=PHRASE),
        "convert out": lambda: kist.convert(here, folder / "t.csv", secrets=PHRASE),
        "convert in": lambda: kist.convert(folder / "no.csv", here, secrets=PHRASE),
        "convert nothing": lambda: kist.convert([], here, secrets=PHRASE),
        "add_secret": lambda: sealed.add_secret(PHRASE, label="1"),
        "rotate": lambda: sealed.rotate([PHRASE, 4]),
        "require_keystore": lambda: made.require_keystore("t", encrypt=PHRASE),
        "require_array": lambda: made.require_array("open", (4,), "i8", encrypt=PHRASE),
        "require_array clear": lambda: made.require_array("open", (3,), "i8", encrypt=PHRASE),
        "require_table": lambda: made.require_table("clear", dtype=[("b", "i4")], encrypt=PHRASE),
        "require_dataset": lambda: made.require_dataset("open", (3,), "i8", encrypt=PHRASE),
        "create_dataset": lambda: made.create_dataset("open", (3,), "i8", encrypt=PHRASE),
        "create_dataset option": lambda: made.create_dataset(
            "new", (3,), "i8", shuffle=True, encrypt=PHRASE
        ),
    }


NAMES = (
    "split", "merge", "shelf", "convert out", "convert in", "convert nothing", "add_secret",
    "rotate", "require_keystore", "require_array", "require_array clear", "require_table",
    "require_dataset", "create_dataset", "create_dataset option",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_of_kist_shows_a_secret_in_a_traceback(name: str, tmp_path: Path) -> None:
    calls = _failing(tmp_path)
    assert tuple(calls) == NAMES
    with pytest.raises(Exception) as caught:  # whatever it is
        calls[name]()
    waiting: list[Any] = [TracebackException.from_exception(caught.value, capture_locals=True)]
    seen = 0
    while waiting:
        found = waiting.pop()
        for frame in found.stack:
            if f"{os.sep}kist{os.sep}" in frame.filename:
                seen += 1
                assert PHRASE not in repr(frame.locals), (frame.filename, frame.lineno)
        waiting += [one for one in (found.__cause__, found.__context__) if one is not None]
    assert seen
    assert PHRASE not in str(caught.value)


def test_what_is_required_sealed_and_stands_in_clear_is_refused(tmp_path: Path) -> None:
    key = bytes(range(32))
    with kist.open(tmp_path / "a.kist", "w", secrets=key) as store:
        store["a"], store["t"] = np.arange(3), np.zeros(3, [("a", "i4"), ("b", "i4")])
        store.create_table("half", dtype=[("a", "i4"), ("b", "i4")], encrypt={"a": key})
        for encrypt in (key, {"b": key}, {("a", "b"): [key]}):
            for name in ("t", "half"):
                with pytest.raises(SecretError, match="is not sealed, and encrypt= was given"):
                    store.require_table(name, dtype=[("a", "i4"), ("b", "i4")], encrypt=encrypt)
        with pytest.raises(SecretError, match="is there and not sealed"):
            store.require_dataset("a", (3,), "i8", encrypt=key)
        for encrypt in (None, {"a": key}):
            found = store.require_table("half", dtype=[("a", "i4"), ("b", "i4")], encrypt=encrypt)
            assert set(found.sealed) == {"a"}
        made = store.require_dataset("new", dtype=[("a", "i4")], encrypt=key)
        assert (
            set(made.sealed) == {"a"}
            and made.sealed
            == store.require_dataset("new", dtype=[("a", "i4")], encrypt={"a": key}).sealed
        )


def test_a_weak_passphrase_is_warned_of_where_it_is_given(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        with pytest.warns(WeakSecretWarning) as caught:
            store.create_array("a", [1], encrypt="abc")
        assert caught[0].filename == __file__
