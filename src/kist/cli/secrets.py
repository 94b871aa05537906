"""Secrets of sealed columns: from the environment, a file or the terminal, never from arguments.

Other users of a machine see the arguments of its processes, and shells keep them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from kist.errors import SecretError

__all__ = ["encrypt_option", "given", "given_to_seal", "secret_option"]

F = TypeVar("F", bound=Callable[..., Any])

_KEY, _ASKED = "kist.secrets", "kist.secrets.asked"
_VARIABLE: Final = "KIST_SECRET"
_HEX: Final = "hex:"


def _choose(ctx: click.Context, parameter: click.Parameter, file: str | None) -> None:
    if file is not None:
        ctx.meta[_KEY] = file


secret_option: Callable[[F], F] = click.option(
    "--secret-file",
    metavar="FILE",
    expose_value=False,
    callback=_choose,
    help="Secrets of sealed columns, one a line: a passphrase, or hex: and 64 digits. - asks for "
    f"one. The environment gives one as {_VARIABLE}.",
)


encrypt_option: Callable[[F], F] = click.option(
    "--encrypt",
    is_flag=True,
    help="Seal new files as a whole, under all secrets that are given.",
)


def given_to_seal(wanted: bool) -> list[bytes | str] | None:
    """Return the secrets for new files, None where they shall not be sealed.

    Raises
    ------
    SecretError
        They shall, and none was given.
    """
    found = given() if wanted else None
    if wanted and not found:
        raise SecretError(f"--encrypt takes secrets: --secret-file FILE, or {_VARIABLE}")
    return found


def given() -> list[bytes | str] | None:
    """Return the secrets that the caller gave, None for none.

    Raises
    ------
    SecretError
        A line is no secret; says which, and not what it holds.
    """
    found = []
    one = os.environ.get(_VARIABLE)
    if one:
        found.append(_secret(one, f"${_VARIABLE}"))
    ctx = click.get_current_context(silent=True)
    file = None if ctx is None else ctx.meta.get(_KEY)
    if ctx is None or file is None:
        return found or None
    if file == "-":
        if _ASKED not in ctx.meta:  # once, however many files are opened
            ctx.meta[_ASKED] = click.prompt("Secret", hide_input=True, err=True)
        return [*found, _secret(ctx.meta[_ASKED], "the secret")]
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\r\n")
                if text.strip() and not text.startswith("#"):
                    found.append(_secret(text, f"{file}, line {number}"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SecretError(f"--secret-file {file}: {reason}; no secret was read") from None
    except UnicodeDecodeError:
        raise SecretError(
            f"{file}: holds no text; a raw key is written as {_HEX} and 64 digits"
        ) from None
    if not found:
        raise SecretError(f"{file}: holds no secret")
    return found


def _secret(text: str, where: str) -> bytes | str:
    if not text.startswith(_HEX):
        return text
    try:
        key = bytes.fromhex(text[len(_HEX) :].strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise SecretError(f"{where}: behind {_HEX} stand 64 digits of 0-9 and a-f")
    return key
