"""What users hold: stores, groups, tables, arrays, key stores, and what is read from them.

The names of files begin with what they are about. In the order in which one meets them:

- `store`: `open` and the open file. `group`, with `group_tables`, `group_arrays`,
  `group_keystores` and what these share in `group_maker`. `node`: what all nodes have.
  `attributes`: small named values on nodes and columns.
- `paths`: which names are allowed. `directory`: the hierarchy as records of the map. `copying`.
- `session`: who sees which state, and whose turn it is to write. `transactions`: the blocks of
  it that users write. `history`: commits and tags. `handles`: handles across processes.
- Tables. `table`, `column`, `selection`, `row`, `appender`, `aggregates` are what users touch.
  `table_records`, `table_layout`, `table_state`: what is stored, and where. `table_input`,
  `table_dtype`, `table_infer`, `table_batch`, `table_rows`, `table_schema`: what users give.
  `table_write`, `table_pages`, `table_change`, `table_fold`, `table_read`, `table_query`,
  `table_statistics`, `table_check`: one verb each.
- Arrays. `array`; `indexing` and `index_items`: what a key denotes; `array_grid`: chunks and
  blocks; `array_state`, `array_segment`, `array_blocks`: what is stored, and where;
  `array_create`, `array_write`, `array_read`, `array_grow`, `array_mmap`, `array_check`.
- Key stores. `keystore`; `keystore_values`: values as records and bundles; `keystore_write`,
  `keystore_read`, `keystore_open`, `keystore_scan`, `keystore_check`.
- For several: `casts`, `cast_values`, `cast_items`, `array_input`: values checked one by one.
  `page_build`: one page, encoded with a kept or a new recipe. `positions`: indices of one axis.
- DataFrames and Arrow: `frames`, `pandas_columns`, `pandas_in`, `arrow_in` on the way in,
  `exports`, `pandas_out`, `arrow_out` on the way out, `notes` for what brings them back equal.
- What things say about themselves: `info`, `tree`, `table_repr`, `table_show`, `array_show`,
  `keystore_repr`, made of `preview`, `text` and `html`; `completing`; `check`.
"""
