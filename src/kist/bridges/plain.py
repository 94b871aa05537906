"""Plain Python values as JSON and back, with a mark where JSON has no word for a type."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from typing import Any, Final

import numpy as np

__all__ = ["fields_of", "from_json", "to_json"]

_MARK: Final = "$kist"


def to_json(value: Any) -> str:
    """Return a value as JSON text that `from_json` gives back with its types."""
    return json.dumps(_marked(value), ensure_ascii=False, allow_nan=True)


def from_json(text: str) -> Any:
    """Return the value that `to_json` wrote."""
    return _plain(json.loads(text))


def _marked(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_marked(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value) and _MARK not in value:
        return {key: _marked(item) for key, item in value.items()}
    kind, content = _described(value)
    return {_MARK: kind, "value": content}


def _described(value: Any) -> tuple[str, Any]:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        described: Any
        if array.dtype.char == "T":
            texts = array.astype(object).reshape(-1).tolist()
            described = "T" if hasattr(array.dtype, "na_object") else "text"  # nothing is missing
            return kind, [described, list(array.shape), texts]
        described = array.dtype.descr if array.dtype.names else array.dtype.str
        raw = base64.b64encode(array.tobytes()).decode()
        return kind, [described, list(array.shape), raw]
    if isinstance(value, tuple | set | frozenset | list):
        return type(value).__name__, [_marked(item) for item in value]
    if isinstance(value, dict):
        return "dict", [[_marked(key), _marked(item)] for key, item in value.items()]
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode()
    if isinstance(value, complex):
        return "complex", [value.real, value.imag]
    if isinstance(value, datetime.timedelta):
        return "timedelta", [value.days, value.seconds, value.microseconds]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return type(value).__name__, value.isoformat()
    return type(value).__name__, str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _MARK not in value:
        return {key: _plain(item) for key, item in value.items()}
    kind, content = value[_MARK], value["value"]
    if kind in ("array", "scalar"):
        described, shape, data = content
        if described in ("T", "text"):
            kinds = {"T": np.dtypes.StringDType(na_object=None), "text": np.dtypes.StringDType()}
            array = np.array(data, kinds[described]).reshape(shape)
        else:
            dtype = np.dtype(fields_of(described) if isinstance(described, list) else described)
            array = np.frombuffer(base64.b64decode(data), dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind in ("tuple", "set", "frozenset", "list"):
        makers: dict[str, Any] = {
            "tuple": tuple, "set": set, "frozenset": frozenset, "list": list,
        }  # fmt: skip
        return makers[kind](_plain(item) for item in content)
    if kind == "dict":
        return {_plain(key): _plain(item) for key, item in content}
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "complex":
        return complex(*content)
    if kind == "timedelta":
        return datetime.timedelta(*content)
    if kind == "Decimal":
        return decimal.Decimal(content)
    if kind in ("datetime", "date", "time"):
        return getattr(datetime, kind).fromisoformat(content)
    return content


def fields_of(described: list[Any]) -> list[Any]:
    """Return a description of fields with the tuples that JSON made lists."""
    found = []
    for name, dtype, *shape in described:
        inner = fields_of(dtype) if isinstance(dtype, list) else dtype
        found.append((name, inner, *(tuple(size) for size in shape)))
    return found
