"""Conditions and values that a function of the caller's computes from blocks of rows.

The function is tried once, on a row of zeros, when the expression is bound: which columns it asks
for and what it gives are known from then on, and its mistakes come before anything is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from kist.errors import QueryError
from kist.query.diagnostics import did_you_mean
from kist.query.nodes import Array, Callback

__all__ = ["bind_function", "call_function", "name_of"]

_ONE_AT_A_TIME: Final = threading.RLock()
"""Functions of callers need not be made for several threads."""


class _Block(Mapping[str, Array]):
    """Columns of some rows, by name; read-only."""

    def __init__(
        self, columns: Mapping[str, Array], n: int, known: Mapping[str, Any] | None = None
    ) -> None:
        self._columns = columns
        self._known = known
        self._n = n
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> Array:
        values = self._columns.get(name)
        if values is None:
            raise KeyError(self._missing(name))
        self.asked[name] = None
        return values

    def _missing(self, name: object) -> str:
        if self._known is None:
            return (
                f"column {name!r} was not asked for when the function was tried on a row of "
                "zeros; name the columns: kist.expr(function, columns=[...])"
            )
        fields = [other for other in self._known if other.startswith(f"{name}.")]
        if fields:
            return f"column {name!r} has fields; take block[{fields[0]!r}]"
        if name in self._known:
            return f"column {name!r} is not among those named: {', '.join(self._columns)}"
        return f"unknown column {name!r}{did_you_mean(str(name), self._known)}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._n

    def __repr__(self) -> str:
        return f"<block of {self._n} rows: {', '.join(self._columns)}>"


def name_of(func: Callable[..., Any]) -> str:
    """Return what messages call a function."""
    return str(getattr(func, "__qualname__", repr(func)))


def bind_function(
    func: Callable[[Any], Any],
    columns: Mapping[str, np.dtype[Any]],
    wanted: tuple[str, ...] | None,
) -> Callback:
    """Return the node of a function.

    Parameters
    ----------
    func : callable
        Takes a mapping of columns, returns one value a row.
    columns : mapping of str to dtype
        All columns.
    wanted : tuple of str or None
        Columns that it is given; None: those that it asks for.

    Raises
    ------
    QueryError
        It raises, or does not return one value a row.
    """
    parents = {name.rpartition(".")[0] for name in columns}
    leaves = {name: dtype for name, dtype in columns.items() if name not in parents}
    for name in wanted or ():
        if name not in leaves:
            raise QueryError(f"unknown column {name!r}{did_you_mean(name, leaves)}")
    shown = leaves if wanted is None else {name: leaves[name] for name in wanted}
    block = _Block({name: _one_row(dtype) for name, dtype in shown.items()}, 1, columns)
    result = _call(func, block)
    asked = tuple(block.asked) if wanted is None else wanted
    shapes = {name: leaves[name].shape for name in asked}
    dtype: np.dtype[Any] = result.dtype
    return Callback(dtype, func, shapes)


def _one_row(dtype: np.dtype[Any]) -> Array:
    values = np.zeros(1, dtype)
    values.flags.writeable = False
    return values


def call_function(
    node: Callback, columns: Mapping[str, Array], valid: Mapping[str, Array], n: int
) -> Array:
    """Return what a function gives for a block.

    Parameters
    ----------
    columns : mapping of str to ndarray
        Values of its columns, items of sub-arrays one after the other.
    valid : mapping of str to ndarray of bool
        Where the values of a column are not null; such a column is handed on as a masked array.
    n : int
        Number of rows.
    """
    given: dict[str, Array] = {}
    for name, shape in node.columns.items():
        values = columns[name].reshape((-1, *shape)).view()
        values.flags.writeable = False
        if name in valid:
            values = np.ma.MaskedArray(values, ~valid[name])
        given[name] = values
    with _ONE_AT_A_TIME:
        result = _call(node.func, _Block(given, n))
    if result.dtype != node.dtype:
        if not np.can_cast(result.dtype, node.dtype, "safe"):
            raise QueryError(
                f"{name_of(node.func)}: the function returned {result.dtype}, and {node.dtype} "
                "when it was tried"
            )
        result = result.astype(node.dtype)
    return result


def _call(func: Callable[[Any], Any], block: _Block) -> Array:
    try:
        with np.errstate(all="ignore"):
            result = func(block)
    except KeyError as error:
        # What the block itself raises says all there is to say.
        raise QueryError(f"{name_of(func)}: {error.args[0] if error.args else error}") from error
    except QueryError:
        raise
    except Exception as error:
        raise QueryError(
            f"{name_of(func)}: the function raised {type(error).__name__}: {error}; it is called "
            "with the columns of a block, as in lambda rows: rows['x'] > 0"
        ) from error
    found: Array = np.asanyarray(result)
    if found.shape != (block.n_rows,):
        raise QueryError(
            f"{name_of(func)}: the function returned shape {found.shape} for {block.n_rows} "
            f"rows, expected ({block.n_rows},)"
        )
    if found.dtype.kind == "O" or found.dtype.names is not None:
        raise QueryError(f"{name_of(func)}: the function returned {found.dtype}")
    return found
