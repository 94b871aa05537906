"""IPython: ``%load_ext kist``, then ``%kist store x y`` and ``%kist load``."""

from __future__ import annotations

import os
import shlex
from typing import Any, Final

import kist
from kist.errors import KistError

__all__ = ["KistMagic", "load_ipython_extension"]

_NAME: Final = "variables"


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
    pickle; `kist.shelf` opens the file too.
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

        variables = self._shell.user_ns
        missing = [name for name in names if name not in variables]
        if missing or not names:
            raise UsageError(f"%kist store: no variable {', '.join(missing) or 'is named'}")
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        with kist.shelf(self._path, name=_NAME) as kept:
            kept.update({name: variables[name] for name in names})
        for name in names:
            print(f"stored {name} ({_about(variables[name])})")

    def _load(self, names: list[str]) -> None:
        with kist.shelf(self._path, "r", name=_NAME) as kept:
            missing = [name for name in names if name not in kept]
            if missing:
                from IPython.core.error import UsageError

                raise UsageError(f"%kist load: nothing is kept as {', '.join(missing)}")
            values = {name: kept[name] for name in names or kept}
        self._shell.push(values)
        print(f"loaded {', '.join(values) or 'nothing'}")

    def _ls(self, names: list[str]) -> None:
        if not os.path.exists(self._path):
            print(f"nothing is kept in {self._path}")
            return
        with kist.shelf(self._path, "r", name=_NAME) as kept:
            # Without loading arrays: their shapes stand in the head of a value.
            values = kept.store[_NAME]
            for name in kept:
                print(f"{name:20} {_about(values.open(name))}")

    def _rm(self, names: list[str]) -> None:
        with kist.shelf(self._path, "w", name=_NAME) as kept, kept.store.transaction():
            for name in names:
                del kept[name]
        print(f"removed {', '.join(names) or 'nothing'}")

    def _file(self, names: list[str]) -> None:
        if names:
            self._path = os.path.abspath(os.path.expanduser(names[0]))
        print(self._path)


def _about(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape:
        return f"{value.dtype} {tuple(shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 50 else text[:47] + '...'}"
