"""Text is cut where rows end, whatever stands in quotes, and read as if it had not been."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.bridges.csv_pieces import pieces
from kist.errors import CorruptDataError

CELLS = ["a", "", "two words", "x,y", 'say ""no""', "one\ntwo", '\n"\n', "é", "\r\n", '"']


def rows(n: int) -> list[list[str]]:
    rng = np.random.default_rng(n)
    return [[CELLS[k] for k in rng.integers(0, len(CELLS), 3)] for _ in range(n)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [40, 100, 5000])
def test_pieces_hold_whole_rows_and_all_of_them(end: str, size: int) -> None:
    wanted = rows(300)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(wanted)
    data = text.getvalue().encode()
    counted = [(bytes(p.text), p.n_quotes) for p in pieces(io.BytesIO(data), size)]
    assert all(text.count(b'"') == n for text, n in counted)
    found = [text for text, _ in counted]
    assert b"".join(found) == data and len(found) > 1
    parsed = [csv.reader(io.StringIO(piece.decode(), newline="")) for piece in found]
    assert [row for part in parsed for row in part] == wanted


def test_a_quote_that_is_not_closed_raises_before_memory_is_full() -> None:
    with pytest.raises(ValueError, match="not closed"):
        list(pieces(io.BytesIO(b'a,"b\n' + b"c,d\n" * 10_000), 100))


def test_cells_with_line_ends_come_in_from_many_pieces(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    wanted = [f'line {k}\n"{k}", and more' for k in range(2000)]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["n", "s"], *([k, text] for k, text in enumerate(wanted))])
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", block_size=1000)
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["s"][:].tolist() == wanted
        assert store["t"]["n"][:].tolist() == list(range(2000))
    (tmp_path / "u.csv").write_text('n,s\n1,"a\n' + "2,b\n" * 10_000)
    with pytest.raises(CorruptDataError, match="not closed"):
        kist.convert(tmp_path / "u.csv", tmp_path / "b.kist", block_size=1000)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(CorruptDataError):
        kist.convert(tmp_path / "empty.csv", tmp_path / "b.kist")


@pytest.mark.parametrize("end", ['3,"un', '3,"', '"', '3,"a\n4,b\n'])
def test_a_file_that_ends_within_quotes_was_cut(tmp_path: Path, end: str) -> None:
    (tmp_path / "t.csv").write_text('n,s\n1,"x"\n' + end)
    with pytest.raises(CorruptDataError, match="ends within quotes"):
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_quotes_within_a_value_are_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('n,s\n1,"x"\n2,5" pipe\n')
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["s"][:].tolist() == ["x", '5" pipe']


def test_old_encodings_and_blank_ends_come_in(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "l.csv").write_bytes("s,n\né,1\nü,2\n".encode("latin1"))
    (tmp_path / "b.csv").write_text("s,n\na,1\n" + "\n" * 3000)
    for name, first in (("l", "é"), ("b", "a")):
        options = {"encoding": "latin1"} if name == "l" else {"block_size": 1000}
        kist.convert(tmp_path / f"{name}.csv", tmp_path / f"{name}.kist", **options)
        with kist.open(tmp_path / f"{name}.kist") as store:
            assert store[name]["s"][0] == first and store[name]["n"][0] == 1


@pytest.mark.parametrize("at", [0, 300, 1900])
@pytest.mark.parametrize("dtypes", [None, {"s": "U"}, {"s": "S30"}, {"n": "f8"}])
def test_text_that_is_none_is_told_by_its_column(
    tmp_path: Path, at: int, dtypes: dict[str, str] | None
) -> None:
    pytest.importorskip("pyarrow")
    lines = [b"%d,text %d" % (k, k) for k in range(2000)]
    lines[at] = b"1,x\xff"
    (tmp_path / "t.csv").write_bytes(b"\n".join([b"n,s", *lines, b""]))
    if at == 0 and "s" not in (dtypes or ()):  # where types are still open these are bytes
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes=dtypes, block_size=1000)
        with kist.open(tmp_path / "a.kist") as store:
            assert store["t"]["s"][0] == b"x\xff"
        return
    with pytest.raises(CorruptDataError, match=r"column ('s'|2): invalid UTF8.*encoding="):
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes=dtypes, block_size=1000)
    assert not (tmp_path / "a.kist").exists()
    if (dtypes or {}).get("s") == "U":
        kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", dtypes=dtypes, encoding="latin1")
        with kist.open(tmp_path / "a.kist") as store:
            assert store["t"]["s"][at] == "x\xff"
