"""The format Zarr: what it is called, and what changes on the way in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from kist.bridges.base import Bridge, Job
from kist.bridges.report import Loss

__all__ = ["Zarr"]

LOSSES: Final = {
    "zarr.bytes": Loss("changed", "bytes of any length", "bytes as wide as the longest (S)"),
    "zarr.long_bytes": Loss(
        "changed", "bytes of any length, some of which end with a zero byte",
        "text of hexadecimal digits",
    ),
    "zarr.no_fill": Loss("changed", "fill value that is not defined (null)", "zero"),
    "zarr.other": Loss("not kept", "file or folder that is no node of Zarr", "nothing"),
    "zarr.columns": Loss(
        "changed", "table with text, or with arrays in its rows", "group with an array each column"
    ),
    "zarr.categories": Loss("changed", "categories of a column", "their values"),
    "zarr.missing": Loss("changed", "missing text", "empty text"),
    "zarr.value": Loss("changed", "value that JSON has no word for", "JSON text with its type"),
    "zarr.dtype": Loss("not kept", "array of a dtype that Zarr lacks", "nothing"),
    "zarr.link": Loss("not kept", "link", "nothing"),
    "zarr.keystore": Loss(
        "changed", "key store", "group with an array for each array, and attributes for the rest"
    ),
}  # fmt: skip


class Zarr(Bridge):
    """Zarr. Options, on the way out: ``zarr_format=3`` or ``2``."""

    name: ClassVar[str] = "zarr"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        from kist.bridges.zarr.read import read

        read(job, source)

    def write(self, job: Job, node: Any, target: str) -> None:
        from kist.bridges.zarr.write import write

        write(job, node, target)
