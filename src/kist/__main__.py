"""Where the command begins: ``kist``, and ``python -m kist`` where the command is not on the path.

The version is told before click is imported, which takes longer than all else here.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point of ``kist``."""
    if sys.argv[1:] == ["--version"]:
        import kist

        try:
            print(f"kist {kist.__version__}", flush=True)
        except OSError as error:
            from kist.cli.ending import without_output

            sys.exit(without_output(error))
        return
    from kist.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
