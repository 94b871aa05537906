"""Categorical columns: few distinct values, stored as codes of a list that grows beside the rows.

A categorical column is a structured column of one field, `code`, an unsigned integer. Its title
tells what the codes stand for: ``categorical T`` is text, ``categorical <i4`` numbers; ``ordered``
may follow; ``enum`` stands for ``categorical`` where the list is fixed. Code 0 is no value, code k
the k-th category. The list is kept in ``Y`` records. docs/design/0011-categories.md says why.
"""

from __future__ import annotations

import enum as enums
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import DTypeError
from kist.format.nullable import is_nullable, nullable

__all__ = [
    "MAX_CATEGORIES",
    "Sort",
    "as_categories",
    "categorical",
    "code_dtype",
    "dtype_with",
    "enum",
    "first_categories",
    "is_categorical",
    "lists_categories",
    "sort_of",
    "values_dtype",
]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

MAX_CATEGORIES: Final = 2**32 - 2
_KINDS: Final = "biufmMSU"
_TEXT: Final = "T"


class Sort(NamedTuple):
    """What the title of a categorical column says.

    Attributes
    ----------
    base : dtype
        Of the categories: `StringDType`, or of fixed width.
    ordered : bool
        They are compared and sorted in the order of the list, not by what they are.
    fixed : bool
        The list never changes.
    """

    base: DType
    ordered: bool
    fixed: bool

    @property
    def grows(self) -> bool:
        """Whether a value that is not in the list is added to it."""
        return not (self.ordered or self.fixed)

    @property
    def values(self) -> DType:
        """Dtype of the column as users see it: one that can say that a value is missing."""
        if self.base.kind == "T":
            return np.dtypes.StringDType(na_object=None)
        return nullable(self.base)

    @property
    def title(self) -> str:
        """The title of the field `code`."""
        base = _TEXT if self.base.kind == "T" else self.base.str
        return f"{'enum' if self.fixed else 'categorical'} {base}{' ordered' * self.ordered}"

    def __str__(self) -> str:
        base = "str" if self.base.kind == "T" else str(self.base)
        kind = "enum" if self.fixed else "categorical"
        usual = self.fixed  # enumerations are ordered unless told otherwise
        how = "" if self.ordered == usual else "ordered " if self.ordered else "unordered "
        return f"{how}{kind} {base}"


def categorical(
    dtype: Any = str, categories: Iterable[Any] | None = None, *, ordered: bool = False
) -> np.dtype[Any]:
    """Return the dtype of a column of few distinct values, which are stored as codes.

    Parameters
    ----------
    dtype : dtype-like, default str
        Of the values: `str` is text of any length; numbers, times, and text and bytes of fixed
        width are possible too.
    categories : sequence, optional
        Values that the column knows from the start, in the order of their codes.
    ordered : bool, default False
        Compare and sort the values as they stand in the list. A value that is not in it is then
        refused, as its place is not known; otherwise it is added at the end.

    Returns
    -------
    dtype
        Structured, of one field `code`. A column of it is read as the values that it stands for.

    Raises
    ------
    DTypeError
        The values have fields or no order, or a category occurs twice or is missing.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     t = store.create_table("t", dtype={"id": "i4", "size": kist.categorical("str")})
    ...     t.append([(1, "large"), (2, "small"), (3, None), (4, "large")])
    ...     t["size"][:].tolist(), t["size"].categories.tolist(), t["size"].codes[:].tolist()
    ...     t.where("size == 'large'")["id"][:].tolist()
    4
    (['large', 'small', None, 'large'], ['large', 'small'], [0, 1, -1, 0])
    [1, 4]
    """
    if (isinstance(dtype, list | tuple) and all(isinstance(one, str) for one in dtype)) or (
        isinstance(dtype, type) and issubclass(dtype, enums.Enum)
    ):
        raise DTypeError(
            f"categorical: {dtype!r} is no dtype of values; kist.enum(...) has names of a fixed "
            "list, kist.categorical(str, [...]) values that are known from the start"
        )
    base = _base_of(dtype, "categorical")
    listed = None
    if categories is not None:
        listed = as_categories(categories, base, "categorical")
    return dtype_with(Sort(base, bool(ordered), False), listed, None)


def enum(values: Any, *, ordered: bool = True) -> np.dtype[Any]:
    """Return the dtype of a column that holds names of a fixed list, and nothing else.

    Parameters
    ----------
    values : sequence of str, mapping of str to int, or enum.Enum
        The names. The numbers of a mapping or of an `enum.IntEnum` are kept beside them, and
        order them.
    ordered : bool, default True
        Compare and sort the names as they stand in the list, not as text.

    Raises
    ------
    DTypeError
        There is no name, one occurs twice, or a number does.

    Examples
    --------
    >>> import kist
    >>> with kist.open(":memory:") as store:
    ...     t = store.create_table("t", dtype={"level": kist.enum(["low", "mid", "high"])})
    ...     t.append({"level": ["high", "low", "mid"]})
    ...     t.where("level >= 'mid'")["level"][:].tolist()
    3
    ['high', 'mid']
    """
    numbers: dict[str, int] | None = None
    if isinstance(values, type) and issubclass(values, enums.Enum):
        names = list(values.__members__)
        plain = all(isinstance(member.value, int) for member in values)
        values = {name: int(values[name].value) for name in names} if plain else names
    if isinstance(values, Mapping):
        numbers = {}
        for name, number in values.items():
            if isinstance(number, bool) or not hasattr(number, "__index__"):
                raise DTypeError(f"enum: the number of {name!r} is an int, not {number!r}")
            numbers[name] = int(number)
        if len(set(numbers.values())) < len(numbers):
            raise DTypeError("enum: two names have one number")
        values = sorted(numbers, key=numbers.__getitem__)
        numbers = {name: numbers[name] for name in values}
        if numbers and not -(2**63) <= min(numbers.values()) <= max(numbers.values()) < 2**63:
            raise DTypeError("enum: numbers have at most 64 bits")
    if isinstance(values, str | bytes):
        raise DTypeError(f"enum: give a list of names, not {values!r}")
    base = np.dtypes.StringDType()
    listed = as_categories(values, base, "enum")
    if not len(listed):
        raise DTypeError("enum: give at least one name")
    return dtype_with(Sort(base, bool(ordered), True), listed, numbers)


def _base_of(dtype: Any, what: str) -> DType:
    if dtype in (str, "str", np.dtypes.StringDType):
        return np.dtypes.StringDType()
    try:
        found: DType = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise DTypeError(f"{what}: {dtype!r} is no dtype: {error}") from error
    if found.kind == "T":
        return np.dtypes.StringDType()
    if is_nullable(found):
        found = found["value"]
    if found.names is not None or found.subdtype is not None or found.kind not in _KINDS:
        raise DTypeError(
            f"{what}: values of {found} cannot be categories; text, numbers and times can"
        )
    if found.itemsize == 0 or (found.kind == "f" and found.itemsize > 8):
        raise DTypeError(f"{what}: values of {found} cannot be categories; they have no fixed size")
    return found


def as_categories(values: Iterable[Any], base: DType, what: str) -> Array:
    """Return a list of categories as an array.

    Raises
    ------
    DTypeError
        One is missing, occurs twice or is of another sort.
    """
    items = values.tolist() if isinstance(values, np.ndarray) and base.kind == "T" else values
    if not isinstance(items, np.ndarray):
        items = [item.name if isinstance(item, enums.Enum) else item for item in items]
    if base.kind == "T":
        for item in items:
            if not isinstance(item, str):
                raise DTypeError(f"{what}: a category is text, not {item!r}")
    try:
        found = np.array(items, base)
    except (TypeError, ValueError, OverflowError, UnicodeError) as error:
        raise DTypeError(f"{what}: categories are no {base}: {error}") from error
    if found.ndim != 1:
        raise DTypeError(f"{what}: give a list of categories, not {found.ndim} dimensions")
    if found.dtype.kind in "fmM" and bool((found != found).any()):
        raise DTypeError(f"{what}: NaN and NaT are no categories; a missing value needs none")
    if base.kind != "T" and found.tolist() != np.asarray(items).tolist():
        raise DTypeError(f"{what}: categories would lose something as {base}")
    known = found.tolist()
    if len(set(known)) < len(known):
        again = next(item for at, item in enumerate(known) if item in known[:at])
        raise DTypeError(f"{what}: the category {again!r} occurs twice")
    return found


def code_dtype(sort: Sort, n: int) -> DType:
    """Return the dtype of codes: four bytes where more may come, else as few as hold them."""
    return np.min_scalar_type(n) if sort.fixed else np.dtype("<u4")


def dtype_with(sort: Sort, listed: Array | None, numbers: dict[str, int] | None) -> DType:
    """Return the dtype of a column that begins with some categories."""
    field = ((sort.title, "code"), code_dtype(sort, 0 if listed is None else len(listed)))
    if listed is None:
        return np.dtype([field])
    # What NumPy calls metadata is no part of what a dtype is, and not of what is stored.
    known = {"kist.categories": listed, "kist.numbers": numbers}
    return np.dtype([field], metadata=known)


def first_categories(dtype: DType) -> tuple[Array | None, dict[str, int] | None]:
    """Return the categories that a new column begins with, and the numbers of their names."""
    known: Mapping[str, Any] = dtype.metadata or {}
    return known.get("kist.categories"), known.get("kist.numbers")


def is_categorical(dtype: DType) -> bool:
    """Tell whether a dtype is that of a categorical column."""
    return dtype.names == ("code",) and sort_of(dtype) is not None


def lists_categories(dtype: DType) -> bool:
    """Whether a dtype is categorical and says which categories there are."""
    return is_categorical(dtype) and first_categories(dtype)[0] is not None


def values_dtype(dtype: DType) -> DType:
    """Return the dtype in which users see a column: of a categorical one that of the values."""
    found = sort_of(dtype) if dtype.names == ("code",) else None
    return dtype if found is None else found.values


@lru_cache(maxsize=256)
def sort_of(dtype: DType) -> Sort | None:
    """Return what a categorical dtype says of itself, None for other dtypes."""
    if dtype.names != ("code",) or dtype.fields is None:
        return None
    code = dtype.fields["code"]
    if len(code) < 3 or code[0].kind != "u" or code[0].itemsize > 4 or dtype.itemsize > 4:
        return None
    word, *rest = str(code[2]).split(" ")
    if word not in ("categorical", "enum") or rest[1:] not in ([], ["ordered"]):
        return None
    try:
        base = _base_of("str" if rest[0] == _TEXT else rest[0], word)
    except (DTypeError, IndexError):
        return None
    return Sort(base, rest[1:] == ["ordered"], word == "enum")
