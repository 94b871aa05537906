"""Tables: rows of named columns, stored by column in row groups.

- What users touch: `table`, `column`, `selection`, `row`, `appender`, `aggregates`; what the
  first three share is in `base`.
- What is stored, and where: `records`, `layout`, `state`.
- What users give: `input`, `dtype`, `infer`, `batch`, `rows`, `schema`, `fields`.
- One verb each: `write`, `pages`, `change`, `fold`, `read`, `query`, `statistics`, `check`.
- How they look: `repr`, `show`.
"""
