# SPDX-License-Identifier: Apache-2.0
"""What a command of `troth admin` is: words, an operation of the API, and what is printed of its answer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]
Rows = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Command:
    """One command, and the operation that it is.

    Attributes:
        words: what is typed behind `troth admin`.
        help: what it does, in a few words.
        method: of HTTP.
        path: below `/api/v1`, with names of arguments in braces; ORG/TEAM is there as `organisation` and `team`.
        others: the path if the option `--user` names somebody.
        arguments: names and settings for `ArgumentParser.add_argument`.
        body: makes what is sent of the arguments.
        query: makes what stands behind the question mark; what is empty is left out.
        rows: what is printed of the answer, in columns, the headings first.
        text: the same as lines.
        pages: the member of the answer that is a list and goes on in the next page; nothing: there are no pages.
        status: the exit status that an answer means; None: 0.
        new_password: whether a password belongs into the body.
        by_password: whether an access token, or docker's login, will not do.
        of_image: whether its argument `image` says which registry is asked.
    """

    words: str
    help: str
    method: str
    path: str
    arguments: tuple[tuple[str, Settings], ...] = ()
    others: str = ""
    body: Callable[[Namespace], dict[str, Any]] | None = None
    query: Callable[[Namespace], dict[str, Any]] | None = None
    rows: Callable[[Any], Rows] | None = None
    text: Callable[[Any, Namespace], list[str]] | None = None
    pages: str = ""
    status: Callable[[Any], int] | None = None
    new_password: bool = False
    by_password: bool = False
    of_image: bool = False


def columns(member: str, **titles: str) -> Callable[[Any], Rows]:
    """A table of the objects in a list: headings, and the members that stand below them."""

    def rows(answer: Any) -> Rows:
        headings: Rows = [[heading.replace("_", " ") for heading in titles]]
        return headings + [[each[name] for name in titles.values()] for each in answer[member]]

    return rows
