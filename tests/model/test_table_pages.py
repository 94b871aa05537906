"""Pages are found whatever other threads are doing."""

from __future__ import annotations

from typing import Any

import numpy as np

import kist


def test_a_page_is_found_while_another_thread_lists_all_of_them() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"x": np.arange(9_000)})
        with table._hold() as view:
            state = table._state(view)
            (leaf,) = state.schema.leaves
            known = state._known

            class Listing(dict[Any, Any]):
                """Pages that are listed right after the first look found none."""

                def get(self, key: Any, default: Any = None) -> Any:
                    found = super().get(key, default)
                    known.pages = dict(self)
                    state.list_pages(leaf)
                    return found

            known.listed.clear()
            known.pages = Listing()
            assert state.find_page(leaf, state.layout.group(0)) is not None
