"""DataFrames and Arrow data, in and out of tables. Their libraries are imported when asked for.

- In: `incoming` finds out who brings what; `pandas_columns`, `pandas_in`, `arrow_in`.
- Out: `exports`; `pandas_out`, `arrow_out`.
- `notes`: what is kept beside a table to give an object back as it was.
"""
