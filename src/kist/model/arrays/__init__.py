"""Arrays of any rank, stored in chunks that are cut into blocks.

- What users touch: `array`.
- What is stored, and where: `grid` (chunks and blocks), `state`, `segment`, `blocks`.
- One verb each: `create`, `write`, `read`, `grow`, `mmap`, `check`; `input` is what users give.
- `later`: what a transaction writes at its end.
- How they look: `show`. Sealed as a whole: `sealed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.lazy import lazily

if TYPE_CHECKING:
    from kist.model.arrays import check, create, grid, grow, input, later, mmap, read, show, write
else:
    __getattr__ = lazily(__name__)
