"""The reference page says what the docstrings say, and every public name stands in it."""

from __future__ import annotations

import runpy
from pathlib import Path

import kist

ROOT = Path(__file__).resolve().parents[2]


def rendered() -> str:
    text: str = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["render"]()
    return text


def test_reference_page_is_made_from_the_docstrings() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == rendered(), "run `python docs/make_reference.py`"


def test_every_public_name_stands_in_the_reference() -> None:
    text = rendered()
    missing = [
        name
        for name in kist.__all__
        if not name.startswith("_") and f"## {name}\n" not in text and f"`{name}`" not in text
    ]
    assert missing == []
