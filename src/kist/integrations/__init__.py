"""kist in other programs: they use its public names, and are imported when they are there.

- `ipython`: ``%load_ext kist`` and ``%kist``.
- `dask`: collections of Dask, read and written; `parts`: datasets that many workers write.
- `plot`: quick looks at columns and arrays with Matplotlib.
- `xarray`: the engine ``kist`` of xarray, and ``ds.kist.to_kist``; `xarray_read`, `xarray_write`.
"""
