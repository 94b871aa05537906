"""HDF5, as h5py and PyTables write it.

- `bridge`: the format, and the list of what changes on its way.
- `read`: groups, links and datasets of a file, in the order of their names. `datasets`: one of them
  as an array or table. `types`: h5py's dtypes as those of kist. `values`: what h5py returns for
  them as arrays that kist takes. `pytables`: what PyTables adds.
- `described`: types of which a dtype tells less than HDF5 knows, in plain values. `exact`: their
  values, bit by bit.
- `write`: nodes of a store as a file that h5py and PyTables read. `write_types`: their dtypes.
- `attributes`, `write_attributes`: attributes, in and out.

What HDF5 knows of a node and kist does not is kept in its attribute ``HDF5``, a dict, so that the
way back restores it. What kist knows and HDF5 does not is kept there in the attribute ``KIST``.
"""
