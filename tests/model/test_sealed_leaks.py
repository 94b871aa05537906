"""Nothing of a sealed column stands in the file, nor in what a sort puts aside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")

import kist
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
