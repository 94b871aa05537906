"""What the tests of this folder share can be imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = str(Path(__file__).parent)
if FOLDER not in sys.path:
    # At the end: a module of the same name elsewhere keeps its place.
    sys.path.append(FOLDER)
