"""Values into stored bytes and back: encodings, then a codec. No file format, no engine.

One page is `n` values of one leaf column. It becomes a short list of *stages* (frozen ids
and their parameters) and one buffer per block; each block decodes alone.

Low level, one file per way of storing:

- `stage`: what all of them have in common; `fields`: the little-endian field tables that
  parameters are made of; `values`: which plain form the values of a dtype take;
- `constant`, `runs`: pages that need no blocks;
- `dictionary`, `decimals`, `delta`, `zigzag`, `reference`: arrays into narrower arrays;
- `plain`, `blosc`, `pco`: arrays into bytes; `bloscchunk` checks the headers of Blosc2's
  chunks, `libblosc` calls its C library;
- `strings`: blocks of strings of any length, `utf8`: strings as Arrow has them;
  `ragged`: cells of any number of items;
- `registry`: which id means which of these.

Medium level:

- `recipe`: which stages a column shall get; `steps`: running them over values;
- `rows`: small batches of rows, all columns together.

High level:

- `choose`: the recipe for a column, from a sample of it;
- `pipeline`: a page through its stages, both ways; `stringpages`: the same for strings,
  `raggedpages` for cells;
  `narrow`: a page no further than to the integers that stand for its values.
- `together`: the codecs of several pages at once; `taking`: values at some positions of a page.

The bytes are described in docs/format.md, "Encodings and codecs".
"""
