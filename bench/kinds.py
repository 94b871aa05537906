"""What other kinds of columns cost beside plain ones: ``python -m bench.kinds``.

The same values stand in one table as plain columns, nullable ones, categories and text of any
length. Each question is put to all of them in turn, so that a busy machine is busy for all; what
comes out is compared with what NumPy makes of the values before a time counts. A row shows the
time of the plain column and how often that each other kind takes; 1.3 is the goal.

    python -m bench.kinds                    # 1M rows, a minute
    python -m bench.kinds sort group         # rows whose name has one of these words
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.engines.base import load
from bench.engines.kist_store import warm_kist
from bench.queries.data import WORDS, Array, iter_blocks
from bench.report import table as markdown_table
from bench.worker import pin

GOAL = 1.3
NULL_SHARE = 0.02
NUMBERS = ("plain", "no nulls", "nulls")
TEXTS = ("plain", "nullable", "categories", "text")

Call = Callable[[], Any]


class Question(NamedTuple):
    """One question, put to several columns.

    Attributes
    ----------
    name : str
        How its row is called.
    calls : mapping of str to callable
        By kind of column; the plain one first.
    right : callable
        Tells whether the answer for a kind is what NumPy has.
    """

    name: str
    calls: Mapping[str, Call]
    right: Callable[[str, Any], bool]


class Values(NamedTuple):
    """What the columns hold.

    Attributes
    ----------
    code : ndarray of int32
        0 to 9,999 in no order.
    null : ndarray of bool
        Where the nullable twins of `code` have no value.
    price : ndarray of float64
        What is added up by group.
    symbol, name : ndarray of bytes
        One of eight words; one of 20,000 names.
    """

    code: Array
    null: Array
    price: Array
    symbol: Array
    name: Array


def values(n_rows: int) -> Values:
    """Make the values."""
    rows = np.concatenate(list(iter_blocks(n_rows)))
    rng = np.random.default_rng(len(rows))
    null = rng.random(n_rows) < NULL_SHARE
    names = np.array([f"user{n:05d}".encode() for n in range(20_000)], "S9")
    name = names[rng.integers(0, len(names), n_rows)]
    return Values(rows["code"].copy(), null, rows["price"].copy(), rows["symbol"].copy(), name)


def write(path: Path, some: Values) -> None:
    """Put the values into a table in all kinds."""
    kist: Any = load("kist")
    text = np.dtypes.StringDType()
    there = np.zeros(len(some.code), bool)

    def as_text(column: Array) -> Array:
        return column.astype(f"U{column.dtype.itemsize}").astype(text)

    columns: dict[str, Any] = {
        "code_plain": some.code,
        "code_no_nulls": np.ma.MaskedArray(some.code, there),
        "code_nulls": np.ma.MaskedArray(some.code, some.null),
        "price": some.price,
    }
    dtypes: dict[str, Any] = dict.fromkeys(("code_no_nulls", "code_nulls"), kist.nullable("i4"))
    dtypes |= {"code_plain": "i4", "price": "f8"}
    for word, column in (("symbol", some.symbol), ("name", some.name)):
        columns[f"{word}_plain"] = column
        columns[f"{word}_nullable"] = np.ma.MaskedArray(column, there)
        columns[f"{word}_categories"] = columns[f"{word}_text"] = as_text(column)
        dtypes |= {f"{word}_plain": column.dtype, f"{word}_nullable": kist.nullable(column.dtype)}
        dtypes |= {f"{word}_categories": kist.categorical(str), f"{word}_text": text}
    with kist.open(path, "w") as store:
        table = store.create_table("t", dtype=[(key, dtypes[key]) for key in columns])
        step = 262_144
        for at in range(0, len(some.code), step):
            table.append({key: column[at : at + step] for key, column in columns.items()})


def _field(base: str, kind: str) -> str:
    return f"{base}_{kind.replace(' ', '_')}"


def _numbers(table: Any, some: Values) -> list[Question]:
    """Questions to numbers."""
    here = {"plain": some.code, "no nulls": some.code, "nulls": some.code[~some.null]}
    conditions: dict[str, tuple[str, Callable[[Array], Array]]] = {
        "equality": "{} == 5000",
        "range 3 %": "({0} >= 5000) & ({0} < 5300)",
        "range 50 %": "({0} >= 5000) & ({0} < 10000)",
        "isin": "isin({}, [17, 1234, 5001, 7777, 9998])",
        "not in range": "~(({0} >= 5000) & ({0} < 5300))",
    }  # type: ignore[assignment]
    masks: dict[str, Callable[[Array], Array]] = {
        "equality": lambda x: x == 5000,
        "range 3 %": lambda x: (x >= 5000) & (x < 5300),
        "range 50 %": lambda x: x >= 5000,
        "isin": lambda x: np.isin(x, [17, 1234, 5001, 7777, 9998]),
        "not in range": lambda x: (x < 5000) | (x >= 5300),
    }
    found = []
    for label, text in conditions.items():
        wanted = {kind: int(masks[label](column).sum()) for kind, column in here.items()}
        calls = {
            kind: partial(lambda c: table.where(c).count(), str(text).format(_field("code", kind)))
            for kind in NUMBERS
        }
        found.append(Question(f"count, {label}", calls, lambda kind, n, w=wanted: n == w[kind]))
        if label in ("equality", "range 3 %", "range 50 %"):
            found.append(_rows_question(table, some, label, str(text), masks[label]))
    for name in ("sum", "max", "count"):
        answer = {
            kind: len(c) if name == "count" else getattr(c, name)() for kind, c in here.items()
        }
        calls = {k: getattr(table[_field("code", k)], name) for k in NUMBERS}
        found.append(Question(f"{name} of numbers", calls, lambda k, n, w=answer: n == w[k]))
    found.append(
        Question(
            "rows of numbers",
            {k: partial(lambda f: table[f][:], _field("code", k)) for k in NUMBERS},
            lambda kind, x: np.array_equal(np.ma.compressed(x), here[kind]),
        )
    )
    found.append(
        Question(
            "sort by numbers",
            {
                k: partial(lambda f: table.sort_by(f)["price"][:], _field("code", k))
                for k in NUMBERS
            },
            lambda kind, x: np.array_equal(
                x, some.price[_order(some.code, some.null if kind == "nulls" else None)]
            ),
        )
    )
    found.append(
        Question(
            "group by numbers",
            {k: partial(_sums, table, _field("code", k)) for k in NUMBERS},
            lambda kind, x: np.array_equal(
                x, np.bincount(np.unique(here[kind], return_inverse=True)[1])
            ),
        )
    )
    return found


def _rows_question(
    table: Any, some: Values, label: str, text: str, mask: Callable[[Array], Array]
) -> Question:
    def right(kind: str, prices: Array) -> bool:
        there = mask(some.code)
        if kind == "nulls":
            there &= ~some.null
        return np.array_equal(prices, some.price[there])

    calls = {
        kind: partial(lambda c: table.where(c)["price"][:], text.format(_field("code", kind)))
        for kind in NUMBERS
    }
    return Question(f"rows, {label}", calls, right)


def _order(column: Array, null: Array | None) -> Array:
    keys = (column,) if null is None else (np.where(null, 0, column), null)
    return np.lexsort(keys)


def _sums(table: Any, field: str) -> Array:
    """Counts by group, without that of nulls."""
    found = table.group_by(field).agg("count")
    if found.dtype[field].names is not None:
        found = found[found[field]["valid"]]
    return found["count"]  # type: ignore[no-any-return]


def _texts(table: Any, some: Values, base: str, column: Array) -> list[Question]:
    """Questions to text."""
    few = base == "symbol"
    sure = column[len(column) // 2].decode()
    others = [sure, *(word.decode() for word in (WORDS[:2] if few else column[:4]))]
    prefix = "A" if few else "user01"
    conditions = {
        "equality": (f"{{}} == '{sure}'", column == sure.encode()),
        "isin": (f"isin({{}}, {others!r})", np.isin(column, [o.encode() for o in others])),
        "startswith": (
            f"startswith({{}}, '{prefix}')",
            np.char.startswith(column, prefix.encode()),
        ),
        "range": (f"{{}} < '{sure}'", column < sure.encode()),
    }
    found = []
    for label, (text, mask) in conditions.items():
        calls = {
            kind: partial(lambda c: table.where(c).count(), text.format(_field(base, kind)))
            for kind in TEXTS
        }
        wanted = int(mask.sum())
        found.append(Question(f"count, {base} {label}", calls, lambda _, n, w=wanted: n == w))
        if label == "startswith":
            calls = {
                kind: partial(lambda c: table.where(c)["price"][:], text.format(_field(base, kind)))
                for kind in TEXTS
            }
            prices = some.price[mask]
            found.append(
                Question(
                    f"rows, {base} {label}",
                    calls,
                    lambda _, x, w=prices: np.array_equal(x, w),
                )
            )
    distinct, numbers = np.unique(column, return_inverse=True)
    means = np.bincount(numbers, some.price) / np.bincount(numbers)
    found += [
        Question(
            f"group by {base}",
            {
                k: partial(
                    lambda f: table.group_by(f).agg({"price": "mean"})["price"],
                    _field(base, k),
                )
                for k in TEXTS
            },
            lambda _, x: np.allclose(x, means, rtol=1e-11),
        ),
        Question(
            f"distinct {base}",
            {k: partial(lambda f: table.distinct(f).count(), _field(base, k)) for k in TEXTS},
            lambda _, n: n == len(distinct),
        ),
        Question(
            f"sort by {base}",
            {k: partial(lambda f: table.sort_by(f)["price"][:], _field(base, k)) for k in TEXTS},
            lambda _, x: np.array_equal(x, some.price[np.argsort(column, kind="stable")]),
        ),
        Question(
            f"rows of {base}",
            {k: partial(lambda f: table[f][:], _field(base, k)) for k in TEXTS},
            lambda _, x: np.array_equal(np.asarray(x).astype(column.dtype), column),
        ),
    ]
    return found


def ask(question: Question, repeat: int) -> dict[str, float]:
    """Return the seconds of each kind: the shortest of several calls that take turns."""
    best = dict.fromkeys(question.calls, float("inf"))
    for kind, call in question.calls.items():
        if not question.right(kind, call()):  # also warms what a first call would load
            raise AssertionError(f"{question.name}, {kind}: not what NumPy has")
    for _ in range(repeat):
        for kind, call in question.calls.items():
            start = time.perf_counter()
            call()
            best[kind] = min(best[kind], time.perf_counter() - start)
    return best


def questions(table: Any, some: Values) -> list[Question]:
    """Return all questions."""
    return [
        *_numbers(table, some),
        *_texts(table, some, "symbol", some.symbol),
        *_texts(table, some, "name", some.name),
    ]


def report(found: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as Markdown."""
    parts = []
    for kinds in (NUMBERS, TEXTS):
        rows = []
        for name, seconds in found.items():
            if tuple(seconds) != kinds:
                continue
            plain, *others = (seconds[kind] for kind in kinds)
            ratios = [f"{other / plain:.2f}" + " !" * (other > GOAL * plain) for other in others]
            rows.append([name, f"{plain * 1e3:.2f} ms", *ratios])
        parts += [*markdown_table(("question", *kinds), rows), ""] if rows else []
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kinds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", help="rows of the report; all by default")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--repeat", type=int, default=7, help="calls of each question")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    args = parser.parse_args(argv)
    if args.rows < 100_000:
        parser.error("at least 100,000 rows")
    pin(args.threads)
    warm_kist()
    kist: Any = load("kist")
    some = values(args.rows)
    with tempfile.TemporaryDirectory(prefix="kist-kinds-", dir=args.folder) as folder:
        path = Path(folder) / "kinds.kist"
        write(path, some)
        found = {}
        with kist.open(path) as store:
            for question in questions(store["t"], some):
                if not args.words or any(word in question.name for word in args.words):
                    found[question.name] = ask(question, args.repeat)
                    print(question.name, file=sys.stderr, flush=True)
    print(report(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
