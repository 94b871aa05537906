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
    told = [(bytes(p.text), p.lines_within, p.is_open) for p in pieces(io.BytesIO(data), size)]
    assert b"".join(text for text, _, _ in told) == data and len(told) > 1
    found = []
    for piece, lines_within, is_open in told:
        part = list(csv.reader(io.StringIO(piece.decode(), newline="")))
        within = any("\n" in cell or "\r" in cell for row in part for cell in row)
        assert (lines_within or not within) and not is_open
        found += part
    assert found == wanted


@pytest.mark.parametrize("at", [0, 3, 60, 61, 62, 63, 64, 65, 127, 128, (1 << 18) - 1, 1 << 18])
@pytest.mark.parametrize(
    ("cell", "lines_within"),
    [
        (b'"a"', False),
        (b'""', False),
        (b'"a,""b"""', False),
        (b'"a\nb"', True),
        (b'"a\rb"', True),
        (b'"a"b', False),
        # Text that has a quote in it: what is inside is not certain.
        (b'5" x 4"', True),
        (b' "a"', True),
        (b'a""b', True),
    ],
)
def test_where_line_ends_may_stand_in_quotes(at: int, cell: bytes, lines_within: bool) -> None:
    data = b"\n".join([b"x" * at, cell + b",1", b"y,2", b'"z",3', b""])
    (piece,) = pieces(io.BytesIO(data), 1 << 20)
    assert (bytes(piece.text), piece.lines_within, piece.is_open) == (data, lines_within, False)
    (piece,) = pieces(io.BytesIO(b"a;" * 40 + b'"b";1\n'), 1 << 20, b";")
    assert not piece.lines_within


def test_quotes_in_text_cut_nothing(tmp_path: Path) -> None:
    csv_of = pytest.importorskip("pyarrow.csv")
    rng = np.random.default_rng(5)
    cells = ['5" pipe', '"a\nb"', "plain", '"x ""y"" z"', '"\r"', "a" * 30, '"c"']
    lines = [f"{cells[a]},{k}" for k, a in enumerate(rng.integers(0, len(cells), 3000))]
    (tmp_path / "t.csv").write_bytes(("s,n\n" + "\n".join(lines) + "\n").encode())
    kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", block_size=1 << 20)
    wanted = csv_of.read_csv(
        tmp_path / "t.csv", parse_options=csv_of.ParseOptions(newlines_in_values=True)
    )
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["s"][:].tolist() == wanted["s"].to_pylist()


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
