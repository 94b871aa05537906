"""``kist completion``: what a shell needs to complete verbs, options, files and paths in them."""

from __future__ import annotations

from typing import Any, Final

import click

from kist.cli.common import examples, split_place

__all__ = ["completion", "places"]

# click's own script asks which bash there is, and takes the words that bash makes, which end at
# the colon of FILE:PATH. What stands before the colon is there already, and is not given again.
_BASH: Final = r"""_kist_completion() {
    local IFS=$'\n' line word found kind before=""
    line="${COMP_LINE:0:COMP_POINT}"
    word="${line##*[[:space:]]}"
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        before="${word%:*}:"
    fi
    COMPREPLY=()
    for found in $(env COMP_WORDS="$line" COMP_CWORD="$word" _KIST_COMPLETE=fish_complete "$1"); do
        kind="${found%%,*}"
        found="${found#*,}"
        found="${found%%$'\t'*}"
        if [[ $kind == dir ]]; then
            compopt -o dirnames
        elif [[ $kind == file ]]; then
            compopt -o default
        else
            [[ $found != */ ]] || compopt -o nospace
            COMPREPLY+=("${found#"$before"}")
        fi
    done
}
complete -o nosort -F _kist_completion kist 2>/dev/null || complete -F _kist_completion kist"""


@click.command(
    epilog=examples(
        'eval "$(kist completion bash)"        # in ~/.bashrc',
        'eval "$(kist completion zsh)"         # in ~/.zshrc',
        "kist completion fish > ~/.config/fish/completions/kist.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that lets SHELL complete verbs, options, files and paths within files."""
    if shell == "bash":
        click.echo(_BASH)
        return
    from click.shell_completion import get_completion_class

    from kist.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click knows them
    script = kind(cli, {}, "kist", "_KIST_COMPLETE").source()
    # Names and what is said of them may hold commas.
    click.echo(script.replace('string split ","', 'string split -m 1 ","'))


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
