"""Zarr groups and arrays, of format 2 and 3: a folder, or a ZIP archive of one.

- `bridge`: the format, and the list of what changes on its way.
- `read`: groups and arrays of Zarr as those of kist. `write`: nodes of a store as Zarr.
- `opening`: the store of Zarr at a path.

What Zarr knows of an array and kist does not is in its attribute ``ZARR``; what kist knows and Zarr
does not, there in ``KIST``. Names of dimensions are kept as docs/xarray.md says.
"""
