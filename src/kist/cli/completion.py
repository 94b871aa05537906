"""``kist completion``: what a shell needs to complete verbs, options, files and paths in them."""

from __future__ import annotations

from typing import Any

import click

from kist.cli.common import examples, split_place

__all__ = ["completion", "places"]


@click.command(
    epilog=examples(
        'eval "$(kist completion bash)"        # in ~/.bashrc',
        'eval "$(kist completion zsh)"         # in ~/.zshrc',
        "kist completion fish > ~/.config/fish/completions/kist.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that lets SHELL complete verbs, options, files and paths within files.

    The colon of FILE:PATH ends a word in bash, where paths are therefore not completed.
    """
    from click.shell_completion import BashComplete, get_completion_class

    from kist.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    if kind is BashComplete:
        # Without its question which bash there is: this may run on another machine.
        kind._check_version = staticmethod(lambda: None)  # type: ignore[method-assign]
    click.echo(kind(cli, {}, "kist", "_KIST_COMPLETE").source())


def places(incomplete: str) -> list[Any]:
    """Return what ``FILE:PATH`` may go on with: files, and behind a colon nodes."""
    from click.shell_completion import CompletionItem

    from kist.cli.common import open_at
    from kist.errors import KistError

    file, path = split_place(incomplete)
    if f"{file}:" != incomplete[: len(file) + 1]:
        return [CompletionItem(incomplete, type="file")]
    above, _, begin = path.rpartition("/")
    try:
        with open_at(file) as store:
            group = store[above or "/"]
            names = [name for name in group if name.startswith(begin)]
            kinds = {name: group[name].kind for name in names[:100]}
    except (KistError, OSError):
        return []  # a shell shows no errors
    before = f"{file}:{above}/" if above else f"{file}:"
    return [
        CompletionItem(before + name + ("/" if kind == "group" else ""), help=kind)
        for name, kind in kinds.items()
    ]
