"""Types of HDF5 exactly: what a dtype of h5py does not tell of them, and how it comes back.

HDF5 has text that is padded in three ways and in two charsets, bits, bytes with a tag, numbers of
any precision, arrays as values. h5py shows all of them as the nearest dtype of NumPy, and makes
its own types of those. So a type that is not one of its own is described in plain values, which
stand in the attribute ``HDF5``, and the way out builds it anew.

A description is a dtype of NumPy for numbers that it has (``"<i4"``), ``"S6/term/utf-8"`` for text
(``"S"`` of any length), and a dict with the key ``"class"`` for all else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from kist.bridges.base import as_dtype

__all__ = ["built", "described", "fits", "told"]

DType = np.dtype[Any]

_DEEPEST: Final = 32
_PADS: Final = ("term", "null", "space")
_CHARSETS: Final = ("ascii", "utf-8")
_BITS: Final = {f"B{size}{order}" for size in (8, 16, 32, 64) for order in ("LE", "BE")}
_ODD: Final = ("precision", "offset", "pad", "fields", "ebias", "norm", "inpad")
"""What may be set of a number, by its names in h5py, in the order in which it has to be set."""


class _Unlike(Exception):
    """A type that is not described, or a description that describes none."""


# From types to descriptions


def told(h5py: Any, kind: Any, dtype: DType) -> bool:
    """Tell whether a dtype of h5py says all of a type, so that the way out makes the same one.

    Parameters
    ----------
    kind : h5py.h5t.TypeID
    dtype : dtype
        As h5py says it.
    """
    if kind.committed():
        return False
    if dtype.kind == "O":
        info = h5py.check_string_dtype(dtype)
        if info is not None:
            return bool(info.encoding == "utf-8" and kind.get_strpad() == h5py.h5t.STR_NULLTERM)
        return h5py.check_ref_dtype(dtype) is not None
    if dtype.subdtype is not None:
        return False
    if dtype.names is not None:
        return not dtype.hasobject and _same(h5py, kind, dtype) and not _has_utf8(h5py, dtype)
    return _same(h5py, kind, dtype) and not _has_utf8(h5py, dtype)


def _same(h5py: Any, kind: Any, dtype: DType) -> bool:
    return bool(h5py.h5t.py_create(dtype, logical=True).equal(kind))


def _has_utf8(h5py: Any, dtype: DType) -> bool:
    if dtype.subdtype is not None:
        return _has_utf8(h5py, dtype.base)
    if dtype.names is not None:
        return any(_has_utf8(h5py, dtype[name]) for name in dtype.names)
    return dtype.kind == "S" and h5py.check_string_dtype(dtype).encoding == "utf-8"


def described(h5py: Any, kind: Any) -> Any:
    """Return a type in plain values; None for one that has no description."""
    try:
        found = _described(h5py.h5t, kind, 0)
        name = h5py.h5i.get_name(kind) if kind.committed() else None
        return found if name is None else {"class": "named", "name": name.decode(), "of": found}
    except (_Unlike, UnicodeDecodeError, TypeError):
        return None


def _described(h5t: Any, kind: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise _Unlike
    found = kind.get_class()
    if found == h5t.STRING:
        length = "" if kind.is_variable_str() else kind.get_size()
        return f"S{length}/{_PADS[kind.get_strpad()]}/{_CHARSETS[kind.get_cset()]}"
    if found in (h5t.INTEGER, h5t.FLOAT):
        dtype = kind.dtype
        if h5t.py_create(dtype, logical=True).equal(kind):
            return dtype.str
        return _number(kind, found == h5t.INTEGER, h5t)
    if found == h5t.BITFIELD:
        return {"class": "bits", "is": _bits(h5t, kind)}
    if found == h5t.OPAQUE:
        return {"class": "opaque", "size": kind.get_size(), "tag": kind.get_tag().decode()}
    if found == h5t.REFERENCE:
        to = "object" if kind.equal(h5t.STD_REF_OBJ) else "region"
        return {"class": "reference", "to": to}
    if found == h5t.COMPOUND:
        fields = [
            [
                kind.get_member_name(at).decode(),
                kind.get_member_offset(at),
                _described(h5t, kind.get_member_type(at), depth + 1),
            ]
            for at in range(kind.get_nmembers())
        ]
        return {"class": "compound", "size": kind.get_size(), "fields": fields}
    if found not in (h5t.ENUM, h5t.VLEN, h5t.ARRAY):
        raise _Unlike
    below = _described(h5t, kind.get_super(), depth + 1)
    if found == h5t.VLEN:
        return {"class": "list", "of": below}
    if found == h5t.ARRAY:
        return {"class": "array", "of": below, "shape": list(map(int, kind.get_array_dims()))}
    numbers = [(kind.get_member_name(at).decode(), int(kind.get_member_value(at)))
               for at in range(kind.get_nmembers())]  # fmt: skip
    return {"class": "enum", "of": below, "names": dict(numbers)}


def _number(kind: Any, whole: bool, h5t: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"class": "integer" if whole else "float", "size": kind.get_size()}
    found["order"] = _order(h5t, kind)
    if whole:
        found["signed"] = kind.get_sign() == h5t.SGN_2
        return found | _parts_of(kind, ("precision", "offset", "pad"))
    return found | _parts_of(kind, _ODD)


def _bits(h5t: Any, kind: Any) -> str:
    """Return the name of a type of bits, as in ``"B16BE"``; h5py tells nothing else of them."""
    names = (f"B{8 * kind.get_size()}{order}" for order in ("LE", "BE"))
    for name in names:
        if getattr(h5t, f"STD_{name}", h5t.C_S1).equal(kind):
            return name
    raise _Unlike


def _order(h5t: Any, kind: Any) -> str:
    order = {h5t.ORDER_LE: "<", h5t.ORDER_BE: ">"}.get(kind.get_order())
    if order is None:
        raise _Unlike  # of VAX
    return order


def _parts_of(kind: Any, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(kind, f"get_{name}")() for name in names}
    return {n: list(map(int, v)) if isinstance(v, tuple) else int(v) for n, v in found.items()}


# From descriptions to types


def built(h5py: Any, description: Any, named: Mapping[str, Any]) -> Any:
    """Return the type of a description; None where it describes none: a store may say anything.

    Parameters
    ----------
    description
        From `described`.
    named : mapping of str to h5py.h5t.TypeID
        Types that have names in the file.
    """
    try:
        if isinstance(description, Mapping) and description["class"] == "named":
            made = _built(h5py.h5t, description["of"], 0)
            found = named.get(description["name"])
            return found if found is not None and found.equal(made) else made
        return _built(h5py.h5t, description, 0)
    except (_Unlike, KeyError, TypeError, ValueError, OverflowError, OSError, RuntimeError):
        return None


def _built(h5t: Any, told: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise _Unlike
    if isinstance(told, str):
        if "/" not in told:
            dtype = as_dtype(told)
            if dtype.kind not in "iuf":
                raise _Unlike
            return h5t.py_create(dtype, logical=True)
        length, pad, charset = told.split("/")
        kind = h5t.C_S1.copy()
        kind.set_size(int(length[1:]) if length != "S" else h5t.VARIABLE)
        kind.set_strpad(_PADS.index(pad))
        kind.set_cset(_CHARSETS.index(charset))
        return kind
    if not isinstance(told, Mapping):
        raise _Unlike
    what = told["class"]
    if what == "compound":
        kind = h5t.create(h5t.COMPOUND, told["size"])
        for name, offset, of in told["fields"]:
            kind.insert(name.encode(), offset, _built(h5t, of, depth + 1))
        return kind
    if what == "opaque":
        kind = h5t.create(h5t.OPAQUE, told["size"])
        kind.set_tag(told["tag"].encode())
        return kind
    if what == "reference":
        return (h5t.STD_REF_OBJ if told["to"] == "object" else h5t.STD_REF_DSETREG).copy()
    if what in ("list", "array", "enum"):
        below = _built(h5t, told["of"], depth + 1)
        if what == "list":
            return h5t.vlen_create(below)
        if what == "array":
            return h5t.array_create(below, tuple(told["shape"]))
        kind = h5t.enum_create(below)
        for name, number in told["names"].items():
            kind.enum_insert(name.encode(), number)
        return kind
    if what == "bits":
        if told["is"] not in _BITS:
            raise _Unlike
        return getattr(h5t, f"STD_{told['is']}").copy()
    like = {
        "float": h5t.IEEE_F64LE,
        "integer": h5t.STD_I64LE if told.get("signed") else h5t.STD_U64LE,
    }
    return _odd(h5t, like[what].copy(), told)


def _odd(h5t: Any, kind: Any, told: Mapping[str, Any]) -> Any:
    kind.set_order(h5t.ORDER_LE if told["order"] == "<" else h5t.ORDER_BE)
    is_float = "fields" in told
    # All bits are there while their places are set; only then may the size shrink.
    if told["size"] > kind.get_size() or not is_float:
        kind.set_size(told["size"])
    for name in (*_ODD[3:], *_ODD[:3]) if is_float else _ODD[:3]:
        value = told[name]
        set_to = getattr(kind, f"set_{name}")
        set_to(*value) if isinstance(value, list) else set_to(value)
    kind.set_size(told["size"])
    return kind


def fits(h5py: Any, kind: Any, dtype: DType) -> bool:
    """Tell whether values of a dtype from `h5_dtype` are those of a type: a store may have changed.

    Parameters
    ----------
    kind : h5py.h5t.TypeID
    dtype : dtype
    """
    try:
        found = kind.dtype
    except TypeError:
        return False
    return _fits(h5py, found, dtype)


def _fits(h5py: Any, found: DType, dtype: DType) -> bool:
    if found.subdtype is not None or dtype.subdtype is not None:
        same = found.shape == dtype.shape
        return same and _fits(h5py, found.base, dtype.base)
    if found.names is not None or dtype.names is not None:
        return found.names == dtype.names and all(
            _fits(h5py, found[name], dtype[name]) for name in found.names or ()
        )
    if h5py.check_string_dtype(found) is not None and found.kind == "O":
        return dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None
    if found.kind == "O" or dtype.kind == "O":
        a, b = h5py.check_vlen_dtype(found), h5py.check_vlen_dtype(dtype)
        if a is not None and b is not None:
            return _fits(h5py, np.dtype(a), np.dtype(b))
        reference = h5py.check_ref_dtype(found)
        return reference is not None and h5py.check_ref_dtype(dtype) is reference
    return found.newbyteorder("=") == dtype.newbyteorder("=")
