"""Records of links (L): a small head, then a plain value that says where the link leads.

docs/format.md, "Links". Names here are bytes of the format: they are never given another meaning.
"""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, UnsupportedVersionError
from kist.format.layout import FieldTable
from kist.format.plain import pack_value, unpack_value

__all__ = ["LINK", "LinkForm", "LinkRecord"]

_VERSION: Final = 1

LINK: Final = FieldTable(
    "Link record",
    (
        ("version", "B", "1"),
        ("form", "B", "1 path, 2 file, 3 union, 4 parts, 5 bytes, 6 arrays"),
        ("reserved0", "6x", "zeros"),
    ),
)


class LinkForm(enum.IntEnum):
    """Where links lead; the numbers are frozen in the format."""

    PATH = 1
    FILE = 2
    UNION = 3
    PARTS = 4
    BYTES = 5
    ARRAYS = 6


_FIELDS: Final[dict[LinkForm, dict[str, tuple[type, ...]]]] = {
    LinkForm.PATH: {"path": (str,)},
    LinkForm.FILE: {
        "file": (str,),
        "path": (str,),
        "version": (int, str, type(None)),
        "store": (bytes, type(None)),
    },
    LinkForm.UNION: {"paths": (list,)},
    LinkForm.PARTS: {
        "path": (str,),
        "schema": (bytes,),
        "names": (list,),
        "files": (list,),
        "stores": (list,),
        "commits": (np.ndarray,),
        "stamps": (list,),
        "stored": (np.ndarray,),
        "groups": (np.ndarray,),
        "rows": (np.ndarray,),
        "live": (np.ndarray,),
        "added": (list,),
        "statistics": (dict,),
    },
    LinkForm.BYTES: {
        "file": (str,),
        "dtype": (bytes,),
        "shape": (list,),
        "order": (str,),
        "offset": (int,),
        "size": (int,),
        "mtime_ns": (int,),
        "block": (int,),
        "sums": (np.ndarray,),
    },
    LinkForm.ARRAYS: {
        "path": (str,),
        "version": (int, str, type(None)),
        "dtype": (bytes,),
        "shape": (list,),
        "names": (list,),
        "files": (list,),
        "stores": (list,),
        "lengths": (np.ndarray,),
    },
}
"""Form -> what its value must say, and in which types. More may stand there, and is ignored."""

_ITEMS: Final = {
    "paths": str,
    "names": str,
    "files": str,
    "stores": bytes,
    "stamps": bytes,
    "added": int,
    "shape": int,
}
"""List -> the type of all its items."""


class LinkRecord(NamedTuple):
    """Where a link leads.

    Attributes
    ----------
    form : LinkForm
        Of what sort.
    said : dict of str to plain value
        The fields of that form.
    """

    form: LinkForm
    said: dict[str, Any]

    def pack(self) -> bytes:
        """Payload of the ``L`` record."""
        return LINK.pack(version=_VERSION, form=self.form) + pack_value(self.said)

    @classmethod
    def unpack(cls, payload: bytes) -> LinkRecord:
        """Return the link of a payload.

        Raises
        ------
        CorruptDataError
            It is too short, or lacks a field.
        UnsupportedVersionError
            A newer kist wrote it.
        """
        if len(payload) < LINK.size:
            raise CorruptDataError(f"a link record of {len(payload)} bytes, {LINK.size} expected")
        head = LINK.unpack(payload)
        if head["version"] != _VERSION or head["form"] not in set(LinkForm):
            raise UnsupportedVersionError(
                f"link of form {head['form']}, version {head['version']}: use a newer kist"
            )
        form = LinkForm(head["form"])
        said = unpack_value(payload[LINK.size :])
        if not isinstance(said, dict):
            raise CorruptDataError("a link record does not say where the link leads")
        for name, types in _FIELDS[form].items():
            if name not in said or type(said[name]) not in types:
                raise CorruptDataError(f"a link record of form {form.value} lacks {name!r}")
            if name in _ITEMS and any(type(item) is not _ITEMS[name] for item in said[name]):
                raise CorruptDataError(
                    f"a link record has other {name} than {_ITEMS[name].__name__}"
                )
        return cls(form, said)
