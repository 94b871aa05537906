"""NetCDF, classic (3) and 4, through netCDF4.

- `bridge`: the format, and the list of what changes on its way.
- `read`: groups, dimensions and variables of a file as groups and arrays.
- `write`: nodes of a store as a file that all read. `write_types`: kist's dtypes as NetCDF's.

Names of dimensions are kept as docs/xarray.md says. What NetCDF knows of a variable and kist does
not is in its attribute ``NETCDF``; what kist knows and NetCDF does not, there in ``KIST``.
"""
