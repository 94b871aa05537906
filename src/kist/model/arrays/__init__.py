"""Arrays of any rank, stored in chunks that are cut into blocks.

- What users touch: `array`.
- What is stored, and where: `grid` (chunks and blocks), `state`, `segment`, `blocks`.
- One verb each: `create`, `write`, `read`, `grow`, `mmap`, `check`; `input` is what users give.
- How they look: `show`.
"""
