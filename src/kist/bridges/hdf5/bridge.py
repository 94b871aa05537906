"""The format HDF5: what it is called, and what changes on the way in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from kist.bridges.base import Bridge, Job
from kist.bridges.report import Loss

__all__ = ["Hdf5"]

LOSSES: Final = {
    # On the way in
    "hdf5.enum": Loss(
        "changed", "enumerated values in arrays and nested fields, or without a name",
        "integers; the names in attribute HDF5",
    ),
    "hdf5.empty": Loss("changed", "empty (null) dataset", "array of length 0; in attribute HDF5"),
    "hdf5.empty_attribute": Loss("changed", "empty (null) attribute", "None"),
    "hdf5.ragged_attribute": Loss("changed", "variable-length attribute", "list of arrays"),
    "hdf5.reference": Loss("changed", "object reference", "text: the path of the object"),
    "hdf5.dangling": Loss("changed", "reference to what is in no group", "empty text"),
    "hdf5.region": Loss("not kept", "region reference", "nothing"),
    "hdf5.ragged": Loss(
        "changed", "variable-length dataset", "group of two arrays, 'values' and 'offsets'"
    ),
    "hdf5.ragged_field": Loss(
        "not kept", "variable-length field inside another field or an array", "nothing",
    ),
    "hdf5.nested_text": Loss(
        "changed", "variable-length text inside a nested field or an array of compounds",
        "bytes of fixed width",
    ),
    "hdf5.not_text": Loss(
        "changed", "text that is not UTF-8", "text with \\x escapes for its bytes"
    ),
    "hdf5.softlink": Loss(
        "changed", "soft link to what is no path here", "entry of attribute HDF5 of its group"
    ),
    "hdf5.hardlink": Loss(
        "changed", "second name of an object", "entry of attribute HDF5 of its group"
    ),
    "hdf5.external": Loss("changed", "external link", "entry of attribute HDF5 of its group"),
    "hdf5.virtual": Loss("changed", "virtual dataset", "its values"),
    "hdf5.virtual_gone": Loss("not kept", "virtual dataset of a file that is gone", "nothing"),
    "hdf5.external_storage": Loss("changed", "values in other files", "values in the store"),
    "hdf5.named_type": Loss(
        "changed", "named datatype", "entry of attribute HDF5 of its group"
    ),
    "hdf5.type": Loss(
        "changed", "type that has no description, as with bytes in the order of a VAX",
        "type as h5py writes its values",
    ),
    "hdf5.dtype": Loss("not kept", "dataset or field of a type that kist cannot hold", "nothing"),
    "hdf5.fill": Loss(
        "not kept", "fill value of text within compounds, of bits or of bytes with a tag", "zero"
    ),
    "hdf5.attribute": Loss("not kept", "attribute of a type that kist cannot hold", "nothing"),
    "hdf5.user_block": Loss("not kept", "bytes before the HDF5 part (user block)", "nothing"),
    "pytables.pickle": Loss("changed", "pickled object", "its bytes, never unpickled"),
    "pytables.index": Loss(
        "not kept", "index of a nested column, of several, or of a type without order", "nothing"
    ),
    # On the way out
    "hdf5.unicode": Loss("changed", "text of fixed width (U)", "bytes of fixed width, UTF-8"),
    "hdf5.categories": Loss(
        "changed", "categories too many for an enumeration, with an empty name, in PyTables times",
        "their values",
    ),
    "hdf5.items": Loss(
        "changed", "times and text in cells of ragged columns",
        "integers or bytes; attribute KIST restores them",
    ),
    "hdf5.lists": Loss("changed", "lists of text", "JSON text; attribute KIST restores them"),
    "hdf5.missing": Loss("changed", "missing text", "empty text"),
    "hdf5.zero_width": Loss("changed", "dtype of no bytes", "dtype of one byte"),
    "hdf5.keystore": Loss("changed", "key store", "group with a dataset or group for each key"),
    "hdf5.value": Loss("changed", "plain Python value", "JSON text"),
    "hdf5.out_dtype": Loss("not kept", "dataset of a dtype that h5py cannot write", "nothing"),
    "hdf5.out_link": Loss("not kept", "link to another kist file", "nothing"),
    "hdf5.lost_reference": Loss(
        "not kept", "reference to an object that is not in the file", "null reference"
    ),
    "hdf5.lost_link": Loss("not kept", "link to an object that is not in the file", "nothing"),
    "hdf5.title": Loss("not kept", "titles of fields", "nothing"),
    "pytables.dtype": Loss("changed", "dtype that PyTables lacks", "the nearest that it has"),
    "hdf5.null_cells": Loss("changed", "nulls in place of cells of ragged columns", "empty cells"),
    "pytables.ragged": Loss(
        "changed", "ragged column of a table",
        "VLArray beside it; attribute KIST puts it back",
    ),
    "pytables.zero": Loss(
        "changed", "bytes behind a zero byte", "nothing, to all that read strings as HDF5 does"
    ),
    "pytables.text": Loss(
        "changed", "text of any length", "bytes as wide as the longest text, UTF-8"
    ),
}  # fmt: skip


class Hdf5(Bridge):
    """HDF5 files. Options: ``flavour="h5py" | "pytables"``, on the way out."""

    name: ClassVar[str] = "hdf5"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        from kist.bridges.hdf5.read import read

        read(job, source)

    def write(self, job: Job, node: Any, target: str) -> None:
        flavour = job.option("flavour", "h5py")
        if flavour == "pytables":
            from kist.bridges.hdf5.write_pytables import write_pytables

            write_pytables(job, node, target)
            return
        if flavour != "h5py":
            raise ValueError(f"flavour {flavour!r} is neither 'h5py' nor 'pytables'")
        from kist.bridges.hdf5.write import write

        write(job, node, target)
