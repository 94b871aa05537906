"""Every format on its way in and out.

- `convert`: the one way in: finds the formats, and makes all or nothing. `report`: what it says.
- `base`: what bridges share: the job, parts of bounded size. `formats`: which format a file is.
  `places`: ``FILE:path``.
- One bridge each: `hdf5`, `npy` (NPZ too), `parquet` (Arrow files too), `text` (CSV, JSON lines),
  `sqlite`, `zarr`, `netcdf`, `b2` (Blosc2), `pickles`. `nodes`: what Zarr, NetCDF and Blosc2
  share. `columns`: Arrow's types as those of tables, by `columns_in` and `columns_out`;
  `arrow_kinds`: what Arrow's types are. `categories`, `nulls`: of columns. `plain`: Python's values
  as JSON.

Bridges see what users see of kist, and import the libraries that they need when they run.
"""
