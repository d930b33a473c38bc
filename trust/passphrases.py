# SPDX-License-Identifier: Apache-2.0
"""Where the passphrases of keys come from: the variables of docker and notary, a file, or a person.

A source is any callable that takes a `Question` and gives a passphrase, or None where it has none.  The library
never prompts by itself; who wants a prompt passes one.

    ask = first_of(from_environment(os.environ), from_person(getpass.getpass))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trust.errors import SettingsError

#: A person may mistype so often.
ATTEMPTS = 3
MIN_LENGTH = 8  # what the Go clients demand of a new one (NOTARY_V1 §5.3)


@dataclass(frozen=True, slots=True)
class Question:
    """Which passphrase is wanted.

    Attributes:
        role: the key's role, or the signer's name.
        gun: the collection it is for, or empty.
        key_id: which key.
        new: whether the key is new and the passphrase is being chosen.
        attempt: 0, then one more each time that the answer was wrong.

    Examples:
        >>> print(trust.Question("targets", "registry.example.com/app", "3a1f5c77", new=True))
        new targets key of registry.example.com/app with ID 3a1f5c7
    """

    role: str
    gun: str
    key_id: str
    new: bool = False
    attempt: int = 0

    def __str__(self) -> str:
        """How a prompt names the key."""
        where = f" of {self.gun}" if self.gun else ""
        return f"{'new ' if self.new else ''}{self.role or 'delegation'} key{where} with ID {self.key_id[:7]}"


#: Gives the passphrase that a `Question` asks for, or None where it has none.
Passphrases = Callable[[Question], str | None]


def from_environment(environment: Mapping[str, str]) -> Passphrases:
    """Passphrases in the variables of docker, then those of notary (NOTARY_V1 §5.3).

    Args:
        environment: such as `os.environ`; an empty variable counts as absent.

    Returns:
        A source of passphrases.

    Examples:
        >>> ask = trust.from_environment({"DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": "for root keys"})
        >>> ask(trust.Question("root", "", "3a1f5c77"))
        'for root keys'
    """

    def ask(question: Question) -> str | None:
        if question.attempt:
            return None  # it will not be another one the second time
        kind = question.role.upper() if question.role in ("root", "targets", "snapshot") else "DELEGATION"
        docker = "ROOT" if kind == "ROOT" else "REPOSITORY"
        names = (f"DOCKER_CONTENT_TRUST_{docker}_PASSPHRASE", f"NOTARY_{kind}_PASSPHRASE")
        return next((environment[name] for name in names if environment.get(name)), None)

    return ask


def from_file(path: str | os.PathLike[str]) -> Passphrases:
    """One passphrase for all keys: the file's first line.

    Args:
        path: the file; it is read now.

    Returns:
        A source of passphrases.

    Raises:
        SettingsError: the file cannot be read, is empty, or others than its owner may read it.

    Examples:
        >>> Path("passphrase").touch(mode=0o600)
        >>> _ = Path("passphrase").write_text("one for all")
        >>> trust.from_file("passphrase")(trust.Question("targets", image.gun, "3a1f5c77"))
        'one for all'
    """
    path = Path(path)
    try:
        if path.is_file() and path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by others; chmod 600 it")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the passphrase file {path} cannot be read") from error
    if not lines or not lines[0]:
        raise SettingsError(f"the passphrase file {path} is empty")
    return lambda question: None if question.attempt else lines[0]


def read_secret(file: str) -> str:
    """A secret that a command is given: a file's content, or for `-` a line of standard input.

    Raises:
        SettingsError: the file cannot be read.
    """
    if file == "-":
        return sys.stdin.readline().strip()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the secret file {file} cannot be read: {type(error).__name__}") from error


def from_person(prompt: Callable[[str], str]) -> Passphrases:
    """Passphrases that a person types; a new one is asked for twice and has at least eight characters.

    Args:
        prompt: shows a text and gives the answer, such as `getpass.getpass`.

    Returns:
        A source of passphrases.

    Examples:
        >>> import getpass
        >>> by_hand = trust.KeyFolder("my-keys", trust.from_person(getpass.getpass))
    """

    def ask(question: Question) -> str | None:
        if question.attempt >= ATTEMPTS:
            return None
        answer = prompt(f"Enter passphrase for {question}: ")
        while question.new:
            if len(answer) < MIN_LENGTH:
                answer = prompt(f"It needs {MIN_LENGTH} characters. Enter passphrase for {question}: ")
            elif prompt(f"Repeat passphrase for {question}: ") == answer:
                break
            else:
                answer = prompt(f"They differ. Enter passphrase for {question}: ")
        return answer

    return ask


def first_of(*sources: Passphrases) -> Passphrases:
    """The first answer that one of several sources has.

    Args:
        sources: asked in this order.

    Returns:
        A source of passphrases.

    Examples:
        >>> import getpass
        >>> ask = trust.first_of(trust.from_environment(os.environ), trust.from_person(getpass.getpass))
    """
    return lambda question: next((answer for ask in sources if (answer := ask(question)) is not None), None)
