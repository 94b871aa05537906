"""IPython: ``%load_ext kist``, then ``%kist store x y`` and ``%kist load``."""

from __future__ import annotations

import os
import shlex
from typing import Any, Final

import kist
from kist.errors import KistError

__all__ = ["KistMagic", "load_ipython_extension"]

_NAME: Final = "variables"
_FRAMES: Final = "frames"
_MISSING: Any = object()


def load_ipython_extension(ipython: Any) -> None:
    """Add the magic ``%kist``; what ``%load_ext kist`` calls.

    ::

        %kist store x y     keep variables
        %kist load          bring all of them back into the notebook
        %kist load x        only some
        %kist ls            list what is kept
        %kist rm x          forget
        %kist file a.kist   keep them in another file from now on; without a name, tell which

    Variables are kept in ``kist/variables.kist`` of the IPython profile, so that other notebooks
    find them, until ``%kist file`` names another file. Plain values and arrays are kept, without
    pickle; `kist.shelf` opens the file too. Frames and series of pandas and frames of polars are
    tables in its group ``frames``.
    """
    ipython.register_magic_function(KistMagic(ipython), magic_name="kist")


class KistMagic:
    """Keep variables: ``%kist store x y``, and bring them back: ``%kist load``.

    ``%kist load x`` brings only some, ``%kist ls`` lists what is kept, ``%kist rm x`` forgets, and
    ``%kist file a.kist`` keeps them in another file from now on, and tells which without a name.

    Parameters
    ----------
    shell : InteractiveShell
        Has the variables in ``user_ns`` and a profile folder.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._path = os.path.join(shell.profile_dir.location, "kist", "variables.kist")

    def __call__(self, line: str) -> None:
        """Run one line; errors are printed in one line, as a magic does."""
        from IPython.core.error import UsageError

        verb, *names = shlex.split(line) or [""]
        known = {
            "store": self._store, "load": self._load, "ls": self._ls, "rm": self._rm,
            "file": self._file,
        }  # fmt: skip
        if verb not in known:
            raise UsageError("%kist store x y | load [x y] | ls | rm x | file [path]")
        try:
            known[verb](names)
        except (KistError, OSError) as error:
            raise UsageError(f"%kist {verb}: {error}") from error

    def _store(self, names: list[str]) -> None:
        from IPython.core.error import UsageError

        if not names:  # as %store does
            self._ls(names)
            return
        variables = self._shell.user_ns
        missing = [name for name in names if name not in variables]
        if missing:
            raise UsageError(f"%kist store: no variable {', '.join(missing)}")
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        with kist.shelf(self._path, name=_NAME) as kept, kept.store.transaction():
            for name in names:
                _forget(kept, name)
                frame, attrs = _as_frame(variables[name])
                if frame is None:
                    kept[name] = variables[name]
                else:
                    kept.store.create_table(f"{_FRAMES}/{name}", frame, attrs=attrs)
        for name in names:
            print(f"stored {name} ({_about(variables[name])})")

    def _load(self, names: list[str]) -> None:
        with kist.shelf(self._path, "r", name=_NAME) as kept:
            frames = kept.store.get(_FRAMES, {})
            missing = [name for name in names if name not in kept and name not in frames]
            if missing:
                from IPython.core.error import UsageError

                raise UsageError(f"%kist load: nothing is kept as {', '.join(missing)}")
            values = {
                name: _frame_of(frames[name]) if name in frames else kept[name]
                for name in names or sorted([*kept, *frames])
            }
        self._shell.push(values)
        print(f"loaded {', '.join(values) or 'nothing'}")

    def _ls(self, names: list[str]) -> None:
        if not os.path.exists(self._path):
            print(f"nothing is kept in {self._path}")
            return
        with kist.shelf(self._path, "r", name=_NAME) as kept:
            # Without loading arrays: their shapes stand in the head of a value.
            values, frames = kept.store[_NAME], kept.store.get(_FRAMES, {})
            for name in sorted([*kept, *frames]):
                print(f"{name:20} {_about(frames[name] if name in frames else values.open(name))}")

    def _rm(self, names: list[str]) -> None:
        with kist.shelf(self._path, "w", name=_NAME) as kept, kept.store.transaction():
            for name in names:
                if not _forget(kept, name):
                    del kept[name]  # which says that it is not there
        print(f"removed {', '.join(names) or 'nothing'}")

    def _file(self, names: list[str]) -> None:
        if names:
            self._path = os.path.abspath(os.path.expanduser(names[0]))
        print(self._path)


def _forget(kept: Any, name: str) -> bool:
    """Remove what is kept under a name; returns whether there was something."""
    frames = kept.store.get(_FRAMES, {})
    if name in frames:
        del frames[name]
        return True
    return kept.pop(name, _MISSING) is not _MISSING


def _as_frame(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return the frame that a value is, or becomes, and what tells which; None for another."""
    kind = type(value)
    of = kind.__module__.partition(".")[0], kind.__name__
    if of in (("pandas", "DataFrame"), ("polars", "DataFrame")):
        return value, {"of": of[0]}
    if of == ("pandas", "Series"):
        return value.to_frame(), {"of": "pandas", "series": True, "name": value.name is not None}
    return None, {}


def _frame_of(table: Any) -> Any:
    """Return the frame or series that a table was made of."""
    if table.attrs.get("of") == "polars":
        return table.to_polars()
    frame = table.to_pandas()
    if not table.attrs.get("series"):
        return frame
    found = frame.iloc[:, 0]
    return found if table.attrs.get("name") else found.rename(None)


def _about(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(value, kist.Table) or (shape and len(shape) == 2 and hasattr(value, "columns")):
        n_rows, columns = len(value), list(value.columns)
        return f"frame of {n_rows:,} rows, columns {', '.join(map(str, columns))[:50]}"
    if shape:
        return f"{value.dtype} {tuple(shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 50 else text[:47] + '...'}"
