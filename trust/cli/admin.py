# SPDX-License-Identifier: Apache-2.0
"""`troth admin`: users, rights, policies, jobs, webhooks and the audit trail of a registry, from anywhere.

    troth admin user list --site localhost:5000
    export TROTH_SITE=localhost:5000
    troth admin user add alice                              # asks for a password
    troth admin policy set library/ --mode enforced
    troth admin explain localhost:5000/library/app:1

Each command is one operation of the API (`trust.cli.admintable`), made with docker's own login or with `--username`
and `--password-stdin`.  A password, or a webhook's secret, comes from a prompt, a file or standard input, never from
the command line.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from trust.cli.admincommand import Command
from trust.cli.adminsite import AdminSite, clean
from trust.cli.admintable import GROUPS, TABLE
from trust.cli.exits import SIGNED, guarded
from trust.cli.session import Access, add_login_options
from trust.cli.verifying import table
from trust.errors import DeniedError, InvalidError, SettingsError, UnauthorizedError
from trust.images import Image
from trust.site import TOKEN_USER

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

#: By this scanners for secrets, and we, know an access token.
_ACCESS_TOKEN = "troth_"  # noqa: S105  # a prefix

_VARIABLE = re.compile(r"\{(\w+)\}")


def add_parser(commands: Commands) -> None:
    """Add `admin` to the commands of `troth`."""
    admin = commands.add_parser("admin", help="manage a registry: users, rights, policies, jobs, webhooks")
    words = admin.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Commands] = {}
    for command in TABLE:
        group, _, word = command.words.rpartition(" ")
        if group and group not in groups:
            groups[group] = words.add_parser(group, help=GROUPS[group]).add_subparsers(
                metavar="COMMAND", required=True
            )
        # Abbreviated, `--password SECRET` would be taken for --password-file, and the secret shown in the error.
        parser = (groups[group] if group else words).add_parser(word, help=command.help, allow_abbrev=False)
        for name, settings in command.arguments:
            parser.add_argument(name, **settings)
        if command.new_password:
            parser.add_argument(
                "--password-file",
                type=Path,
                metavar="FILE",
                help="the new password (default: ask, or standard input)",
            )
        if not command.of_image:
            parser.add_argument("--site", metavar="HOST", help="the registry, with its port (default: $TROTH_SITE)")
        parser.add_argument("--json", action="store_true", help="print what the registry answers")
        add_login_options(parser)
        parser.set_defaults(run=guarded(_runner(command)))


def _runner(command: Command) -> Any:
    return lambda options: _run(command, options)


def _run(command: Command, options: argparse.Namespace) -> int:
    access = Access(options)
    image = Image.parse(options.image) if command.of_image else None
    site = _site(access, image.host if image else _host(options), command)
    if image is not None:
        options.repository, options.tag = image.repository, image.tag
    if "team" in options:
        options.organisation, _, options.team = options.team.partition("/")
    path = command.others if command.others and options.user else command.path
    path = _VARIABLE.sub(lambda found: _encoded(found[1], getattr(options, found[1])), path)
    body = command.body(options) if command.body else None
    if command.new_password:
        body = {**(body or {}), "password": _new_password(options)}
    query = command.query(options) if command.query else None
    if command.pages:
        return _print_pages(command, options, site.pages(path, query))
    try:
        answer = site.call(command.method, path, body, query)
    except DeniedError as error:
        if command.by_password and isinstance(error.detail, dict) and "password" in str(error.detail.get("asked")):
            raise DeniedError(f"{error.message}; give it with --username and --password-stdin") from error
        raise
    if options.json:
        _print_json(answer)
    elif command.text:
        for line in command.text(answer, options):
            print(clean(line))
    else:
        _print_rows(command.rows(answer) if command.rows else [])
    return command.status(answer) if command.status else SIGNED


def _print_pages(command: Command, options: argparse.Namespace, pages: Iterator[Any]) -> int:
    whole: dict[str, Any] = {}
    for page in pages:
        if options.json:
            whole = {**page, command.pages: [*whole.get(command.pages, []), *page[command.pages]]}
        elif command.rows:
            _print_rows(command.rows(page))
    if options.json:
        _print_json(whole)
    return SIGNED


def _print_json(answer: Any) -> None:
    if answer is not None:
        print(json.dumps(answer, indent=2))


def _print_rows(rows: list[list[Any]]) -> None:
    table([[clean(_cell(cell)) for cell in row] for row in rows])


def _cell(value: Any) -> str:
    if value in (None, "", {}):
        return "-"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _host(options: argparse.Namespace) -> str:
    host: str | None = options.site or os.environ.get("TROTH_SITE")
    if not host:
        raise SettingsError("say which registry: --site HOST:PORT, or TROTH_SITE in the environment")
    if "/" in host or "@" in host:
        raise SettingsError("a registry is named by HOST:PORT, such as localhost:5000")
    return host


def _site(access: Access, host: str, command: Command) -> AdminSite:
    login = access.login(host)
    if login is None:
        raise UnauthorizedError(
            f"there is no login for {host}; run 'docker login {host}', or give --username and --password-stdin"
        )
    site = AdminSite(host, ca=access.authorities(host), login=login)
    is_password = login[0] != TOKEN_USER and not login[1].startswith(_ACCESS_TOKEN)
    if not command.by_password or access.given or is_password or not sys.stdin.isatty():
        return site
    # What docker keeps is not enough, and there is a person to ask.
    name = site.call("GET", "/me")["name"]
    return AdminSite(host, ca=access.authorities(host), login=(name, _ask(f"Your own password, {clean(name)}: ")))


def _encoded(name: str, value: object) -> str:
    """A value as part of a path; only a repository's name may be several parts."""
    text = str(value)
    parts = text.split("/") if name == "repository" else [text]
    if not {"", ".", ".."}.isdisjoint(parts):
        raise InvalidError(f"{text[:80]!r} is no name")
    return "/".join(quote(part, safe="") for part in parts)


def _new_password(options: argparse.Namespace) -> str:
    if options.password_file:
        try:
            return str(options.password_file.read_text(encoding="utf-8")).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the password file {options.password_file} cannot be read") from error
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = _ask(f"New password for {options.name}: ")
    if password != _ask("The same again: "):
        raise InvalidError("these were two different passwords")
    return password


def _ask(text: str) -> str:
    try:
        return getpass.getpass(text)
    except EOFError as error:
        raise SettingsError("there is nobody to give the password") from error
