"""Every format on its way in and out.

- `convert`: the one way in: finds the formats, and makes all or nothing. `report`: what it says.
- `base`: what bridges share: the job, parts of bounded size. `formats`: which format a file is.
  `places`: ``FILE:path``.
- One bridge each: `hdf5`.

Bridges see what users see of kist, and import the libraries that they need when they run.
"""
