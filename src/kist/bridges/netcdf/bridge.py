"""The format NetCDF: what it is called, and what changes on the way in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from kist.bridges.base import Bridge, Job
from kist.bridges.report import Loss

__all__ = ["NetCdf"]

LOSSES: Final = {
    "netcdf.enum": Loss("changed", "enumerated values", "integers; the names in attribute NETCDF"),
    "netcdf.ragged": Loss(
        "changed", "variable of rows that differ in length",
        "group of two arrays, 'values' and 'offsets'",
    ),
    "netcdf.type": Loss("not kept", "variable of a type that netCDF4 cannot read", "nothing"),
    "netcdf.unused_type": Loss("not kept", "type that no variable has", "nothing"),
    "netcdf.restored": Loss(
        "changed", "booleans, times, complex and half-precision numbers, bytes and text of a width",
        "the nearest type; attribute KIST restores them",
    ),
    "netcdf.field": Loss("changed", "booleans and times within compounds", "integers"),
    "netcdf.dtype": Loss("not kept", "array of a dtype that NetCDF lacks", "nothing"),
    "netcdf.columns": Loss(
        "changed", "table", "group with a variable each column; attribute KIST restores it"
    ),
    "netcdf.categories": Loss("changed", "categories of a column", "their values"),
    "netcdf.missing": Loss("changed", "missing text", "empty text"),
    "netcdf.value": Loss(
        "changed", "attribute of a type or name that NetCDF has not",
        "JSON text; attribute KIST restores it",
    ),
    "netcdf.fill": Loss(
        "changed", "`_FillValue` of another type than its variable, or of text",
        "the same number, or nothing; attribute KIST restores it",
    ),
    "netcdf.link": Loss("not kept", "link", "nothing"),
    "netcdf.keystore": Loss(
        "changed", "key store", "group with a variable for each array, and attributes for the rest"
    ),
}  # fmt: skip


class NetCdf(Bridge):
    """NetCDF files. Options, on the way out: ``data_model``, ``compression`` (zlib level)."""

    name: ClassVar[str] = "netcdf"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        from kist.bridges.netcdf.read import read

        read(job, source)

    def write(self, job: Job, node: Any, target: str) -> None:
        from kist.bridges.netcdf.write import write

        write(job, node, target)
