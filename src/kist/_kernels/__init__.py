"""The inner loops, in NumPy; the one place where a compiled twin could go one day.

- `records`: structured arrays into columns and back, in blocks of rows.
- `words`: matrices of 64-bit words, one row per column, in few bytes.
- `matrix_decimals`: many columns of floats as integers at once. `decimals`: one column.
- `bits`: widths, zigzag, differences. `lookup`: few distinct items among many.
- `ordering`: the order of rows by several keys. `numbering`: dense numbers for distinct keys.
- `sets`: distinct values, and which are among others. `strings`: what NumPy keeps of text.
- `textwords`: UTF-8 as words that sort, and that number strings.

Nothing here knows files, tables or codecs.
"""

from __future__ import annotations
