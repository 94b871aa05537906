"""Values into stored bytes and back: encodings, then a codec. No file format, no engine.

One page is `n` values of one leaf column. It becomes a short list of *stages* (frozen ids
and their parameters) and one buffer per block; each block decodes alone.

Low level, one file per way of storing:

- `fields`: the little-endian field tables that parameters are made of;
- `values`: which plain form the values of a dtype take (byte order, bits, width);
- `constant`, `runs`: pages that need no blocks;
- `dictionary`, `decimals`, `delta`, `zigzag`, `reference`: arrays into narrower arrays;
- `blosc`, `pco`, `plain`: arrays into bytes;
- `registry`: which id means which of these.

Medium level:

- `pipeline`: a page through its stages, both ways;
- `rows`: small batches of rows, all columns together.

High level:

- `choose`: which stages a column gets, from a sample of it.

The bytes are described in docs/format.md, "Encodings and codecs".
"""
