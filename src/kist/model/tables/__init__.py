"""Tables: rows of named columns, stored by column in row groups.

- What users touch: `table`, `column`, `selection`, `row`, `appender`, `groupby`; what the
  first three share is in `base`, `queries` (steps that give selections) and `reductions` (numbers).
- What a selection means: `steps` as the user said them, `rowset` what they make of the rows,
  `operands` what rows are sorted and grouped by.
- How it is found: `query` (conditions), `sort`, `spill`, `aggregates`; of groups `grouping`,
  `accumulators`, `collected`.
- How rows are changed: `changing` (what tables offer), `update`, `upsert`, `row_loop`; below them
  `change` (patches, new pages, sets of deleted rows) and `sparse` (groups that have lost many).
- Indexes: `indexed` (what tables offer), `index` (as one view shows them), `index_find`,
  `index_order` and `explain` (what they answer), `index_keep` and `index_unique` (at each change).
- What is stored, and where: `records`, `layout`, `state`.
- What users give: `input`, `dtype`, `infer`, `batch`, `rows`, `schema`, `fields`.
- One verb each: `write`, `pages`, `fold`, `read`, `query`, `statistics`, `check`.
- How they look: `repr`, `show`.
"""
