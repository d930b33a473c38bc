# SPDX-License-Identifier: Apache-2.0
"""Settings: a frozen dataclass, filled from a TOML file and then from the environment.

Each service declares its settings as a frozen dataclass; a field's `metadata={"help": …}` is its documentation.
`load` reads them once at start and reports everything that is wrong in one list.

    @dataclass(frozen=True)
    class Settings:
        listen: str = field(default="127.0.0.1:4443", metadata={"help": "address to listen on"})

    settings = load(Settings, prefix="TROTH_SERVER", path=Path("server.toml"))

The environment wins over the file: `TROTH_SERVER_LISTEN` sets `listen`.  Relative paths in a file are relative to
the file's folder, in the environment to the working directory.  Lists are comma-separated in the environment.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from trust.errors import SettingsError, TrustError

S = TypeVar("S")

#: How a service may write its log.
LOG_FORMATS = ("text", "json")
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


def load(
    cls: type[S],
    *,
    prefix: str,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    given: Mapping[str, Any] | None = None,
) -> S:
    """Make settings of type `cls` from a file and the environment.

    Args:
        cls: a dataclass whose fields are `str`, `int`, `float`, `bool`, `Path`, `tuple[str, ...]`, or one of
            these or None.
        prefix: what environment names begin with, without the last underscore.
        path: a TOML file, or None.
        environ: the environment; the process's own when None.
        given: what the file says, when it is not TOML and somebody else has read it.

    Raises:
        SettingsError: the file cannot be read, or a setting is unknown, missing or malformed; all at once.
    """
    environ = os.environ if environ is None else environ
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # any dataclass
    values: dict[str, Any] = {}
    problems: list[str] = []
    if given is None:
        given = _read(path) if path else {}
    base = path.parent if path else Path()
    for name, value in given.items():
        if name not in fields:
            problems.append(f"{path}: unknown setting {name!r}")
            continue
        try:
            values[name] = _convert(value, hints[name], base)
        except ValueError as error:
            problems.append(f"{path}: {name}: {error}")
    for name in fields:
        variable = f"{prefix}_{name.upper()}"
        if variable in environ:
            try:
                values[name] = _convert(_from_text(environ[variable], hints[name]), hints[name], Path())
            except ValueError as error:
                problems.append(f"{variable}: {error}")
    for name, declared in fields.items():
        if (
            name not in values
            and declared.default is dataclasses.MISSING
            and declared.default_factory is dataclasses.MISSING
        ):
            problems.append(f"{name} is missing (in the file, or as {prefix}_{name.upper()})")
    if problems:
        raise SettingsError("; ".join(problems), detail=problems)
    return cls(**values)


def failures(*steps: Callable[[], object]) -> list[str]:
    """What is wrong, over all `steps`: the complaints of those that raise a `TrustError`."""
    found: list[str] = []
    for step in steps:
        try:
            step()
        except TrustError as error:
            found += complaints(error)
    return found


def observing_problems(log_format: str, metrics_listen: str | None, *others: str | None) -> list[str]:
    """What is wrong with the settings that all services have for those who watch them.

    Args:
        log_format: must be one of `LOG_FORMATS`.
        metrics_listen: must be `host:port`, and none of `others`, or None.
        others: where else the service listens.
    """
    problems = []
    if log_format not in LOG_FORMATS:
        problems.append(f"log_format must be one of {', '.join(LOG_FORMATS)}")
    if metrics_listen is not None and not _ADDRESS.fullmatch(metrics_listen):
        problems.append(f"metrics_listen must be host:port, not {metrics_listen[:80]!r}")
    elif metrics_listen is not None and metrics_listen in others:
        problems.append("metrics_listen must be an address of its own: nothing but metrics is without TLS and tokens")
    return problems


def complaints(error: TrustError) -> list[str]:
    """The single complaints in an error that may list several."""
    if isinstance(error.detail, list):
        return [str(each) for each in error.detail]
    return [error.message]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def _alternatives(kind: Any) -> tuple[Any, ...]:
    if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(k for k in typing.get_args(kind) if k is not type(None))
    return (kind,)


def _from_text(text: str, kind: Any) -> Any:
    (kind,) = _alternatives(kind)
    if typing.get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        lowered = text.lower()
        if lowered not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError("must be true or false")
        return lowered in ("true", "1", "yes")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise ValueError("must be a number") from error
    return text


def _convert(value: Any, kind: Any, base: Path) -> Any:
    (kind,) = _alternatives(kind)
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise ValueError("must be a path")
        return base / value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("must be a list of strings")
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"must be of type {kind.__name__}")
    return value


def table(cls: type[Any]) -> str:
    """The settings of `cls` as a table in Markdown: the reference documentation is made by this."""
    hints = typing.get_type_hints(cls)
    lines = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for declared in dataclasses.fields(cls):
        if declared.default is dataclasses.MISSING:
            default = "required"
        else:
            default = "none" if declared.default in (None, "", ()) else f"`{_shown(declared.default)}`"
        kinds = _alternatives(hints[declared.name])
        kind = "list" if typing.get_origin(kinds[0]) is tuple else kinds[0].__name__.lower().replace("str", "text")
        lines.append(f"| `{declared.name}` | {kind} | {default} | {declared.metadata.get('help', '')} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
