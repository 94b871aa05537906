"""Values that text cannot tell from others: what is missing, and numbers of many digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

from kist.bridges.base import Job
from kist.bridges.columns import Digits
from kist.bridges.nulls import holds_nulls
from kist.extras import need

__all__ = ["MISSING", "Missing", "needs_text", "with_all_digits"]

MISSING: Final = ("", "NA", "N/A", "NULL", "null", "NaN", "nan", "None")
"""What stands for a missing value in CSV, with quotes around it too."""

_EXACT: Final = 2.0**53
_WHOLE: Final = "^[+-]?[0-9]{16,300}$"


def with_all_digits(pa: Any, batches: Iterable[Any], settled: list[str]) -> Iterator[Any]:
    """Yield batches in which no number lost digits, as integers do that are read as floats.

    Parameters
    ----------
    settled : list of str
        Columns that are floats whatever their values.

    Raises
    ------
    Digits
        A number is so large that it may have been another one.
    """
    pc: Any = need("pyarrow.compute", "arrow", "")
    for batch in batches:
        for field, array in zip(batch.schema, batch.columns, strict=True):
            if field.type == pa.float64() and field.name not in settled:
                if _are_small(array):
                    continue
                ends = pc.min_max(array.filter(pc.is_finite(array)))
                if max(-(ends["min"].as_py() or 0), ends["max"].as_py() or 0) >= _EXACT:
                    raise Digits(field.name)
        yield batch


def _are_small(array: Any) -> bool:
    """Tell whether all values are there and small, at a glance; most are."""
    if array.null_count or not len(array):
        return False
    values = array.to_numpy()
    # NaN and infinity are not less.
    return bool(values.max() < _EXACT and values.min() > -_EXACT)


def needs_text(batches: Iterable[Any], name: str) -> bool:
    """Tell whether a column, read as text, holds an integer that no float is."""
    pc: Any = need("pyarrow.compute", "arrow", "")
    for batch in batches:
        array = batch.column(name)
        for text in array.filter(pc.match_substring_regex(array, _WHOLE)).to_pylist():
            if int(float(text)) != int(text):
                return True
    return False


class Missing:
    """Notes values of a table that are missing ones when the text is read again."""

    def __init__(self, job: Job, pa: Any, table: Any) -> None:
        self._job, self._pa, self._table = job, pa, table
        self._pc: Any = need("pyarrow.compute", "arrow", "")
        self._words = pa.array(MISSING)
        self._nullable = {n for n in table.columns if holds_nulls(table[n].dtype)}
        self._noted: set[str] = set()

    def look(self, names: list[str], columns: list[Any]) -> None:
        """Look at the columns of a batch, as text and as numbers."""
        types = self._pa.types
        for name, array in zip(names, columns, strict=True):
            if types.is_string(array.type) or types.is_large_string(array.type):
                words = self._words.cast(array.type)
                self._note_if(name, "text.empty", partial(self._pc.is_in, array, words))
        self.look_at_numbers(names, columns)

    def look_at_numbers(self, names: list[str], columns: list[Any]) -> None:
        """Look for NaN in columns that have nulls beside them."""
        for name, array in zip(names, columns, strict=True):
            if name in self._nullable and self._pa.types.is_floating(array.type):
                self._note_if(name, "text.nan", partial(self._pc.is_nan, array))

    def _note_if(self, name: str, code: str, find: Callable[[], Any]) -> None:
        if name not in self._noted and self._pc.any(find()).as_py():
            self._noted.add(name)
            self._job.note(code, f"{self._table.name}.{name}")
