"""Nodes of a store as a NetCDF file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Job, as_dtype
from kist.bridges.netcdf.write_lists import is_of_lists, write_lists
from kist.bridges.netcdf.write_types import Stored, joined, stored_as
from kist.bridges.nodes import full_text, plain_columns, split_keystore
from kist.bridges.nulls import free_name, is_nullable, split_nulls, value_of
from kist.bridges.plain import to_json
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["write"]

_MODELS: Final = ("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET",
                  "NETCDF3_64BIT_DATA")  # fmt: skip
_CLASSIC: Final = {"i1", "i2", "i4", "f4", "f8", "S1"}
_NUMBERS: Final = ({int}, {float})
_SMALL: Final = 64 << 10
"""Bytes up to which a variable is not compressed, because it would not get smaller."""
_TOGETHER: Final = 4096
"""Variables that are defined before the values of the first of them are written: with the first
values behind a definition, NetCDF looks at all that the file has."""


def write(job: Job, node: Any, target: str) -> None:
    """Write a node as a new NetCDF file; a group as its root."""
    netcdf = need("netCDF4", "netcdf", "convert to NetCDF")
    model = job.option("data_model", "NETCDF4")
    if model not in _MODELS:
        raise ValueError(f"data_model {model!r} is none of {', '.join(_MODELS)}")
    level = job.option("compression", 1)
    with job.writing():
        file = netcdf.Dataset(target, "w", format=model)
        try:
            _Writer(job, netcdf, file, model, level).write(node)
        except BaseException:
            # Closing would raise again what the disk refused.
            if file.isopen():
                file._close(False) if hasattr(file, "_close") else file.close()
            raise
        file.close()


class _Writer:
    """A file that is being written."""

    def __init__(self, job: Job, netcdf: Any, file: Any, model: str, level: Any) -> None:
        self.job = job
        self.netcdf = netcdf
        self.file = file
        self.model = model
        self.level = level
        self._types: dict[Any, Any] = {}
        self._waiting: list[Callable[[], None]] = []

    def write(self, top: Any) -> None:
        """Write a node and all below it."""
        if top.kind != "group":
            named = zip(_dims(top) or (), _shape(top), strict=False)
            self.dimensions(self.file, {name: (size, False) for name, size in named})
            self.dataset(top, self.file, top.name.rsplit("/", 1)[1])
            self.put_values()
            return
        waiting = [(top, self.file)]
        while waiting:
            group, made = waiting.pop()
            self.job.report.n_groups += 1
            self.dimensions(made, self.sizes(group, made))
            self.attributes(made, group.attrs, group.name)
            for name, child in group.items():
                if child.kind == "group" and self.model == "NETCDF4" and is_of_lists(child):
                    self.lists(child, made, name)
                elif child.kind == "group":
                    waiting.append((child, self.group(made, name, child)))
                elif child.kind == "link":
                    self.job.note("netcdf.link", child.name)
                else:
                    self.dataset(child, made, name)
            # How long a dimension without a limit is, is known when values are there.
            if any(dimension.isunlimited() for dimension in made.dimensions.values()):
                self.put_values()
        self.put_values()

    def later(self, put: Callable[[], None]) -> None:
        """Let values wait until other variables are defined."""
        self._waiting.append(put)
        if len(self._waiting) >= _TOGETHER:
            self.put_values()

    def put_values(self) -> None:
        """Write the values of what is defined."""
        waiting, self._waiting = self._waiting, []
        for put in waiting:
            put()

    def group(self, parent: Any, name: str, node: Any) -> Any:
        """Make a group.

        Raises
        ------
        ConversionError
            The data model has none.
        """
        if self.model != "NETCDF4":
            raise ConversionError(f"{node.name}: {self.model} has no groups; NETCDF4 has")
        return parent.createGroup(name)

    # Dimensions

    def sizes(self, group: Any, made: Any) -> dict[str, tuple[int, bool]]:
        """Return (size, is unlimited) of the dimensions that a group defines.

        Raises
        ------
        ConversionError
            Two arrays disagree.
        """
        declared = group.attrs.get("_DIMS", {})
        declared = declared if isinstance(declared, Mapping) else {}
        found: dict[str, tuple[int, bool]] = {}
        for child in group.values():
            names = _dims(child) if child.kind == "array" else None
            for name, size in zip(names or (), _shape(child) if names else (), strict=True):
                if name not in declared and name not in found:
                    above = _above(made, name)
                    if above is not None and len(above) == size:
                        continue
                first = found.setdefault(name, (size, name in declared and declared[name] is None))
                if first[0] != size:
                    raise ConversionError(
                        f"{child.name}: dimension {name!r} has {size:,} places, and {first[0]:,} "
                        "in another array of the group"
                    )
        for name, size in declared.items():
            found.setdefault(name, (0 if size is None else int(size), size is None))
        return {name: found[name] for name in (*declared, *(n for n in found if n not in declared))}

    def dimensions(self, made: Any, sizes: Mapping[str, tuple[int, bool]]) -> None:
        """Define dimensions."""
        for name, (size, unlimited) in sizes.items():
            # A size of 0 means no limit to NetCDF.
            made.createDimension(name, None if unlimited else size)

    def unnamed(self, made: Any, size: int) -> str:
        """Return a dimension of that size for an axis without a name."""
        name = f"dim_{size}"
        while (above := _above(made, name)) is not None and (
            len(above) != size or above.isunlimited() != (size == 0)
        ):
            name += "_"
        if above is None:
            made.createDimension(name, size)
        return name

    # Datasets

    def dataset(self, node: Any, made: Any, name: str) -> None:
        """Write an array, table or key store."""
        if node.kind == "table":
            self.table(node, made, name)
        elif node.kind == "array":
            self.array(node, made, name)
        else:
            self.keystore(node, made, name)

    def array(self, array: Any, made: Any, name: str) -> None:
        """Define an array, and write it later."""
        stored = self.stored(array.dtype, array.name)
        if stored is None:
            return
        dims = _dims(array)
        known: dict[str, Any] = {}
        if dims is None and array.ndim:
            dims = [self.unnamed(made, size) for size in array.shape]
            known["no_dims"] = True
        variable = self.variable(made, name, stored, dims or [], array, known)
        self.later(partial(self.put_array, array, variable, stored))

    def put_array(self, array: Any, variable: Any, stored: Stored) -> None:
        """Write the values of an array, part by part."""
        for where, values in self.job.array_parts(array):
            values = full_text(self.job, "netcdf.missing", values, array.name)
            target: Any = (*where, slice(None)) if stored.width else where
            found = stored.values(values)
            if found.dtype.names is not None:
                # NetCDF keeps bytes in compounds as characters, and aligns the fields.
                found = found.astype(joined(variable.dtype)).view(variable.dtype)
            variable[target if target else ...] = found

    def table(self, table: Any, made: Any, name: str) -> None:
        """Write a table as a group with a variable for each column."""
        plain_columns(self.job, "netcdf.categories", table, "NetCDF")
        self.job.note("netcdf.columns", table.name)
        group = self.group(made, name, table)
        group.createDimension("row", len(table) or None)
        written = []
        for column_name in table.columns:
            column = table[column_name]
            place = f"{table.name}.{column_name}"
            nullable = is_nullable(column.dtype)
            stored = self.stored(value_of(column.dtype), place)
            if stored is None:
                continue
            written.append(column_name)
            dims = ["row", *(self.unnamed(group, size) for size in column.shape[1:])]
            of_column: dict[str, Any] = {"no_dims": True}
            flags = None
            if nullable:
                of_column["valid"] = free_name(column_name, [*table.columns, *group.variables])
                flags = group.createVariable(of_column["valid"], "i1", ["row"])
            variable = self.variable(group, column_name, stored, dims, column, of_column)
            self.later(partial(self.put_column, column, variable, flags, stored, place))
        known = {"kind": "table", "columns": written, "no_dims": True}
        self.attributes(group, table.attrs, table.name, known)
        self.job.report.n_tables += 1
        self.job.report.n_rows += len(table)

    def put_column(
        self, column: Any, variable: Any, flags: Any, stored: Stored, place: str
    ) -> None:
        """Write the values of a column, and which of them are there."""
        done = 0
        for values in column.blocks(BLOCK_ROWS):
            rows = slice(done, done + len(values))
            if flags is not None:
                values, flags[rows] = split_nulls(values)
            full = full_text(self.job, "netcdf.missing", values, place)
            variable[rows] = stored.values(full)
            done += len(values)
            self.job.advance(values.nbytes)

    def keystore(self, store: Any, made: Any, name: str) -> None:
        """Write a key store as a group."""
        self.job.note("netcdf.keystore", store.name)
        group = self.group(made, name, store)
        arrays, attrs = split_keystore(store)
        for key, values in arrays.items():
            stored = self.stored(values.dtype, f"{store.name}/{key}")
            if stored is not None:
                dims = [self.unnamed(group, size) for size in values.shape]
                group.createVariable(key, stored.dtype, dims)[...] = stored.values(values)
                self.job.advance(values.nbytes)
        self.attributes(group, attrs, store.name)
        self.job.report.count_keystore(store)

    def lists(self, group: Any, made: Any, name: str) -> None:
        """Write a group that came in from a variable of lists as such a variable."""
        facts, dtype = group.attrs["NETCDF"], group["values"].dtype.newbyteorder("=")
        named = group.attrs.get("_DIMS")
        shape = facts["ragged"]
        names = named if isinstance(named, list) and len(named) == len(shape) else [""] * len(shape)
        dims = []
        for axis, size in zip(names, shape, strict=True):
            above = _above(made, axis) if isinstance(axis, str) and axis else None
            fits = above is not None and (above.isunlimited() or len(above) == size)
            dims.append(axis if fits else self.unnamed(made, size))
        known = facts.get("type")
        title = known if isinstance(known, str) and known else f"lists_of_{dtype}"
        if (title, dtype) not in self._types:
            taken = {key[0] for key in self._types}
            used = title if title not in taken else f"{title}_{len(taken)}"
            self._types[title, dtype] = self.file.createVLType(dtype, used)
        variable = write_lists(group, made, name, self._types[title, dtype], dims)
        attrs = {key: v for key, v in group.attrs.items() if key not in ("NETCDF", "_DIMS")}
        self.attributes(variable, attrs, group.name)
        self.job.report.n_arrays += 1
        self.job.advance(group["values"].nbytes)

    def stored(self, dtype: Any, place: str) -> Stored | None:
        """Return how a dtype is written, and note it.

        Raises
        ------
        ConversionError
            NetCDF 4 would hold it, the data model chosen does not.
        """
        stored = stored_as(dtype)
        if stored is None:
            self.job.note("netcdf.dtype", f"{place} ({dtype})")
            return None
        if stored.is_restored:
            self.job.note("netcdf.restored", f"{place} ({dtype})")
        elif dtype.names is not None and _holds(dtype, "bMm"):
            self.job.note("netcdf.field", place)
        plain = stored.dtype is not str and stored.dtype.str.lstrip("<>=|") in _CLASSIC
        if not plain and self.is_classic:
            raise ConversionError(f"{place}: {self.model} has nothing for {dtype}; NETCDF4 has")
        if self.model == "NETCDF3_64BIT_DATA" and (stored.dtype is str or stored.dtype.names):
            raise ConversionError(f"{place}: {self.model} has nothing for {dtype}; NETCDF4 has")
        return stored

    def variable(
        self, made: Any, name: str, stored: Stored, dims: list[str], node: Any,
        known: dict[str, Any],
    ) -> Any:  # fmt: skip
        """Make a variable with its attributes, laid out as it was in NetCDF."""
        facts = node.attrs.get("NETCDF", {})
        attrs = {key: value for key, value in node.attrs.items() if key != "NETCDF"}
        if stored.is_restored:
            known["dtype"] = value_of(node.dtype).str
        if value_of(node.dtype).names is not None:
            known["packed"] = True  # NetCDF aligns the fields
        if stored.width:
            known["chars"] = True
            dims = [*dims, self.unnamed(made, stored.width)]
        if stored.units and "units" not in attrs:
            attrs["units"] = stored.units
            known["added"] = ["units"]
        options = self.layout(node, facts, stored, len(dims))
        fill = attrs.pop("_FillValue", None)
        if fill is not None:
            fitting = _fitting(fill, stored)
            if fitting is not None:
                options["fill_value"] = fitting
            if fitting is None or np.asarray(fill).dtype != fitting.dtype:
                self.job.note("netcdf.fill", f"{node.name}@_FillValue")
                known["attrs"] = {"_FillValue": fill}
        shown = getattr(node, "fill_value", None)
        if shown is not None and node.dtype.kind in "iuf" and fill is None:
            default = self.netcdf.default_fillvals.get(np.dtype(stored.dtype).str[1:], 0)
            if float(shown) != float(default):
                known["fill"] = shown
        variable = made.createVariable(name, self.datatype(stored, facts), dims, **options)
        variable.set_auto_maskandscale(False)
        if stored.dtype is not str:
            variable.set_auto_chartostring(False)
        self.attributes(variable, attrs, node.name, known)
        return variable

    def layout(
        self, node: Any, facts: Mapping[str, Any], stored: Stored, ndim: int
    ) -> dict[str, Any]:
        """Return chunks and compression of a variable."""
        options: dict[str, Any] = {}
        if not self.model.startswith("NETCDF4") or not ndim or 0 in node.shape:
            return options
        if len(facts.get("chunks", ())) == ndim:
            options["chunksizes"] = facts["chunks"]
        level = facts.get("zlib", None if facts else self.level)
        if level and node.nbytes > _SMALL and stored.dtype is not str:
            options |= {"compression": "zlib", "complevel": level, "shuffle": True}
        if "fletcher32" in facts.get("filters", ()):
            options["fletcher32"] = True
        if facts.get("endian") == "big":
            options["endian"] = "big"
        return options

    def datatype(self, stored: Stored, facts: Mapping[str, Any]) -> Any:
        """Return the type of a variable; types of the user are made in the root, once each."""
        enum = facts.get("enum")
        if enum and stored.dtype is not str and stored.dtype.kind in "iu":
            key = (enum["name"], stored.dtype)
            if key not in self._types:
                made = self.file.createEnumType(stored.dtype, enum["name"], enum["values"])
                self._types[key] = made
            return self._types[key]
        if stored.dtype is str or stored.dtype.names is None:
            return stored.dtype
        return self.compound(stored.dtype, facts.get("type"))

    def compound(self, dtype: Any, name: str | None = None) -> Any:
        """Return a type of compounds, after those in it, which NetCDF must know before."""
        key = str(dtype)
        if key not in self._types:
            for field in dtype.names:
                if dtype[field].base.names is not None:
                    self.compound(dtype[field].base)
            used = {made.name for made in self._types.values()}
            free = name if name and name not in used else f"compound_{len(self._types)}"
            self._types[key] = self.file.createCompoundType(dtype, free)
        return self._types[key]

    # Attributes

    def attributes(
        self, made: Any, attrs: Mapping[str, Any], place: str, known: dict[str, Any] | None = None
    ) -> None:
        """Write the attributes of a node, and what kist alone knows of it."""
        known = dict(known or {})
        for name, value in attrs.items():
            if name in ("NETCDF", "_DIMS"):
                continue
            found, how = self.encoded(value)
            if how:
                known.setdefault("as", {})[name] = how
            if found is None:
                self.job.note("netcdf.value", f"{place}@{name}")
                known.setdefault("json", []).append(name)
                found = to_json(value)
            try:
                made.setncattr(name, found)
            except AttributeError:  # as of names with a blank in front
                self.job.note("netcdf.value", f"{place}@{name}")
                known.setdefault("attrs", {})[name] = value
        if known:
            made.setncattr("KIST", to_json(known))

    def encoded(self, value: Any) -> tuple[Any, str]:
        """Return a value as an attribute of NetCDF, and how kist has it back; None if it cannot.

        NetCDF has numbers, rows of numbers (of which one alone is a number), text and rows of it.
        """
        if isinstance(value, str):
            return (value if "\0" not in value else None), ""
        is_list = type(value) is list and bool(value)
        if is_list and all(type(item) is str for item in value):
            return (value if self.model == "NETCDF4" and len(value) > 1 else None), ""
        if type(value) in (int, float) or (is_list and {type(v) for v in value} in _NUMBERS):
            number = np.asarray(value)
            if number.dtype.kind not in "if":
                return None, ""
            if number.dtype == "i8" and self.is_classic:
                number = number.astype("i4") if np.all(number == number.astype("i4")) else number
            return self.number(number), "list" if is_list else "plain"
        if isinstance(value, np.ndarray | np.generic) and np.asarray(value).size:
            return self.number(np.asarray(value)), "array" if np.shape(value) == (1,) else ""
        return None, ""

    @property
    def is_classic(self) -> bool:
        """Whether the data model has the types of NetCDF 3 alone."""
        return self.model not in ("NETCDF4", "NETCDF3_64BIT_DATA")

    def number(self, array: Any) -> Any:
        """Return numbers as the data model has them, None where it has not."""
        if array.ndim > 1 or array.dtype.kind not in "iuf" or array.itemsize not in (1, 2, 4, 8):
            return None
        native = array.astype(array.dtype.newbyteorder("="))
        known = native.dtype.str[1:]
        return None if known == "f2" or (self.is_classic and known not in _CLASSIC) else native


def _dims(node: Any) -> list[str] | None:
    """Return the names of the dimensions of an array, None where it has none that fit."""
    found = node.attrs.get("_DIMS")
    fits = isinstance(found, list) and len(found) == len(_shape(node)) and all(found)
    return [str(name) for name in found] if fits else None


def _fitting(fill: Any, stored: Stored) -> Any:
    """Return a fill value in the dtype of its variable, None where that has no such number."""
    if stored.dtype is str or np.ndim(fill) or np.dtype(stored.dtype).kind not in "iufS":
        return None
    if np.asarray(fill).dtype.kind not in "iufbSU":
        return None
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(fill).astype(stored.dtype)[()]
        except (ValueError, OverflowError):
            return None
    same = found == fill or (found != found and fill != fill)
    return found if same or np.dtype(stored.dtype).kind == "S" else None


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.shape) if node.kind == "array" else ()


def _above(group: Any, name: str) -> Any:
    """Return a dimension of a group or of one above it."""
    while group is not None:
        if name in group.dimensions:
            return group.dimensions[name]
        group = group.parent
    return None


def _holds(dtype: Any, kinds: str) -> bool:
    base = as_dtype(dtype).base
    if base.names is not None:
        return any(_holds(base[name], kinds) for name in base.names)
    return bool(base.kind in kinds)
