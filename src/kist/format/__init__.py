"""Bytes to records and back, without any I/O.

- `layout`: every magic, offset and field table, once.
- `checksum`: XXH3 as the format writes it.
- `superblock`: super and slots. `log`: records of the ring. `frame`: headers of extents.
- `keys`, `values`: keys and values of the one map. `tree`: its pages.
- `page`: heads of column pages.
- `dtypes`, `plain`, `schema`: NumPy dtypes, plain values, schemas of tables as bytes.
"""
