"""xarray's engine ``kist``, and ``to_kist`` of datasets and trees of them.

xarray imports this module when it looks for engines; ``import kist.integrations.xarray`` does the
same for the accessor. `xarray_read` and `xarray_write` do the work. How names of dimensions are
stored: docs/xarray.md.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint, StoreBackendEntrypoint

import kist
from kist.integrations.xarray_read import DataStore
from kist.integrations.xarray_write import write

__all__ = ["KistAccessor", "KistBackend", "KistTreeAccessor"]


class KistBackend(BackendEntrypoint):  # type: ignore[misc]
    """Opens stores as datasets: ``xr.open_dataset("f.kist", engine="kist")``."""

    description = "Open kist stores in xarray"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether a path looks like a store."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(
            filename_or_obj
        ).endswith(".kist")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        version: int | str | None = None,
    ) -> Any:
        """Open a group as a dataset; values are read when they are used.

        Parameters
        ----------
        filename_or_obj : str or path object
            The store.
        group : str, optional
            Path of the group; by default the root. A table is a dataset of its columns.
        version : int or str, optional
            Commit or tag that is read.
        mask_and_scale, decode_times, concat_characters, decode_coords
            As for `xarray.open_dataset`.
        drop_variables, use_cftime, decode_timedelta
            As for `xarray.open_dataset`.
        """
        store = DataStore(os.fspath(filename_or_obj), group, version)
        try:
            return StoreBackendEntrypoint().open_dataset(
                store,
                mask_and_scale=mask_and_scale,
                decode_times=decode_times,
                concat_characters=concat_characters,
                decode_coords=decode_coords,
                drop_variables=drop_variables,
                use_cftime=use_cftime,
                decode_timedelta=decode_timedelta,
            )
        except BaseException:
            store.close()
            raise

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, Any]:
        """Open every group as a dataset, by path."""
        top = options.pop("group", None) or "/"
        with kist.open(os.fspath(filename_or_obj), version=options.get("version")) as store:
            node = store[top] if top.strip("/") else store
            paths = ["/"]
            node.visititems(
                lambda name, found: paths.append(f"/{name}") if found.kind == "group" else None
            )
        base = top.strip("/")
        return {
            path: self.open_dataset(filename_or_obj, group=f"{base}{path}", **options)
            for path in paths
        }

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> Any:
        """Open a store with all its groups as a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))


@xr.register_dataset_accessor("kist")
class KistAccessor:
    """What ``ds.kist`` gives.

    Examples
    --------
    >>> import kist.integrations.xarray, os, tempfile
    >>> import xarray as xr
    >>> path = os.path.join(tempfile.mkdtemp(), "weather.kist")
    >>> day = xr.Dataset({"t": ("time", [20.5, 21.0])}, {"time": [0, 1]})
    >>> day.kist.to_kist(path)
    >>> day.assign_coords(time=[2, 3]).kist.to_kist(path, append_dim="time")
    >>> with xr.open_dataset(path, engine="kist") as ds:
    ...     ds["t"].values
    array([20.5, 21. , 20.5, 21. ])
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def to_kist(
        self,
        path: str | os.PathLike[str],
        *,
        group: str | None = None,
        append_dim: str | None = None,
        overwrite: bool = False,
        codec: str = "auto",
        encoding: Mapping[Hashable, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the dataset into a group of a store, in one transaction.

        Parameters
        ----------
        path : str or path object
            The store; a new one is made.
        group : str, optional
            Path of the group; by default the root.
        append_dim : str, optional
            Append to the arrays that are there, along this dimension. All else must be as it is
            there.
        overwrite : bool
            Replace arrays that are there.
        codec : str
            Of new arrays, as for `Group.create_array`.
        encoding : mapping, optional
            How variables are stored, as for `Dataset.to_netcdf`; with ``"chunks"`` too.

        Raises
        ------
        NodeExistsError
            There is an array of that name, and neither `append_dim` nor `overwrite` is given.
        ShapeError, ConversionError
            What is appended does not fit what is there.

        Notes
        -----
        Of Dask arrays as many chunks as make 128 MiB are computed together, other lazy values are
        read in parts of 32 MiB.
        """
        inside = (group or "").strip("/")
        write(
            {inside: self._dataset}, os.fspath(path), append_dim,
            overwrite=overwrite, codec=codec, encoding={inside: encoding or {}},
        )  # fmt: skip


@xr.register_datatree_accessor("kist")
class KistTreeAccessor:
    """What ``tree.kist`` gives of a tree of datasets.

    Examples
    --------
    >>> import kist.integrations.xarray, os, tempfile
    >>> import xarray as xr
    >>> path = os.path.join(tempfile.mkdtemp(), "weather.kist")
    >>> day = xr.Dataset({"t": ("time", [20.5, 21.0])}, {"time": [0, 1]})
    >>> xr.DataTree.from_dict({"/": xr.Dataset(), "/oslo": day}).kist.to_kist(path)
    >>> with xr.open_datatree(path, engine="kist") as tree:
    ...     tree["oslo/t"].values
    array([20.5, 21. ])
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def to_kist(
        self,
        path: str | os.PathLike[str],
        *,
        group: str | None = None,
        append_dim: str | None = None,
        overwrite: bool = False,
        codec: str = "auto",
        encoding: Mapping[str, Mapping[Hashable, Mapping[str, Any]]] | None = None,
    ) -> None:
        """Write the tree into groups of a store, all in one transaction.

        Coordinates that a node has from those above it are written there alone.

        Parameters
        ----------
        path : str or path object
            The store; a new one is made.
        group : str, optional
            Path of the group that becomes the root of the tree; by default the root.
        append_dim : str, optional
            Append along this dimension, wherever a node has it.
        overwrite, codec
            As for `KistAccessor.to_kist`.
        encoding : mapping, optional
            By paths of nodes in the tree, then as for `KistAccessor.to_kist`.

        Raises
        ------
        NodeExistsError, ShapeError, ConversionError
            As for `KistAccessor.to_kist`; then nothing of the tree is written.
        """
        top = (group or "").strip("/")

        def place(name: str) -> str:
            return "/".join(part for part in (top, name.strip("/")) if part)

        datasets = {
            place(node.relative_to(self._tree).strip(".")): node.to_dataset(
                inherit=node is self._tree
            )
            for node in self._tree.subtree
        }
        write(
            datasets, os.fspath(path), append_dim, overwrite=overwrite, codec=codec,
            encoding={place(name): own for name, own in (encoding or {}).items()},
        )  # fmt: skip
