# SPDX-License-Identifier: Apache-2.0
"""The reference of `import trust`, made from its docstrings: one page a subject, below docs/reference/trust.

for path, text in pages().items():
    path.write_text(text, encoding="utf-8")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import griffe

import trust
from demosite import PREAMBLE
from publicface import Item, public

FOLDER = Path(__file__).parent.parent / "docs" / "reference" / "trust"
_ITEMS = {item.name: item for item in public()}
_TITLES = {"parameters": "Arguments", "attributes": "Attributes", "raises": "Raises"}
_NAME = re.compile(r"`([A-Za-z_.]+)`")
_WIDTH = 100


@dataclass(frozen=True)
class Subject:
    """One page.

    Attributes:
        file: its name, without `.md`.
        title: its heading.
        lead: its first sentences.
        names: what it tells, in this order.
    """

    file: str
    title: str
    lead: str
    names: tuple[str, ...]


_ERRORS = tuple(name for name in trust.__all__ if name.endswith("Error"))
SUBJECTS = (
    Subject(
        "reading",
        "Reading: what is signed",
        "`resolve` is the short way; `open_reader` gives a `Reader`, whose `Collection` answers all questions.\n"
        "How-to: [verify from a script](../../how-to/verify-from-a-script.md), "
        "[run your own policy](../../how-to/run-your-own-policy.md).",
        (
            "resolve", "open_reader", "Reader", "Collection", "Target", "DOCKER_ROLES", "Pins", "Cache", "FileCache",
            "MemoryCache", "Source", "NotaryServer", "Registry", "Manifest", "NotaryMetadata", "parse",
        ),
    ),
    Subject(
        "publishing",
        "Publishing: sign, revoke, delegate, rotate",
        "`open_repository` gives a `Repository`; its `publish` takes changes, which are the other classes here.\n"
        "How-to: [publish from a script](../../how-to/publish-from-a-script.md).",
        (
            "open_repository", "Repository", "Creation", "Published", "SignTag", "RevokeTag", "add_signer",
            "signer_role", "RemoveSigner", "SetTarget", "RemoveTarget", "Delegate", "RemoveDelegationKeys",
            "RemoveDelegation", "ReplaceKeys", "Witness", "Change", "Draft", "Present", "Server",
        ),
    ),
    Subject(
        "keys",
        "Keys and passphrases",
        "A `KeyFolder` is the folder that docker, notary and troth share.\n"
        "The library never prompts: a source of passphrases is given to it.",
        (
            "KeyFolder", "HeldKey", "find_key", "AskPin", "generate_private", "read_public_key", "NotaryKey",
            "NotarySigner", "NotarySignature", "PrivateKey", "PublicKey", "from_environment", "from_file",
            "from_person", "first_of", "Passphrases", "Question",
        ),
    ),
    Subject(
        "names",
        "Names",
        "They are strings, checked once: making one raises `InvalidError` when the text does not follow the rules.",
        (
            "Image", "Gun", "RepositoryName", "Tag", "Digest", "RoleName", "ROOT", "TARGETS", "SNAPSHOT", "TIMESTAMP",
            "RELEASES", "Paths",
        ),
    ),
    Subject("errors", "Errors", "All are below `TrustError`, by who has to act.", _ERRORS),
)  # fmt: skip
#: Who has to act; the first class above an error that is here decides.
_BLAME = {
    "UntrustedError": "who publishes, serves or changes the data",
    "SettingsError": "who runs the program",
    "PassphraseError": "who holds the key",
    "InvalidError": "the caller",
    "UnauthorizedError": "the caller, with better credentials",
    "DeniedError": "who grants rights to the caller",
    "MissingKeysError": "who holds the keys",
    "NotFoundError": "nobody; it is not signed, or not here",
    "ConflictError": "nobody; begin anew from the newer state",
    "UnavailableError": "who runs the server, or the network",
    "TrustError": "nobody in particular",
}
_INDEX = f"""# The library: `import trust`

These pages are made from the docstrings; a test compares the two, and runs every example.

| page | names |
| --- | --- |
%s

`trust.standard`, for repositories of TUF 1.0, is public as well: [how to use it](../../how-to/standard-tuf.md).
Anything else is private, whatever module it is in, and may change in any release.
Types are complete: the package has `py.typed`.

## Where the examples begin

Every example goes on from these lines, in the folder where [`make up`](../../tutorial/first-signed-pull.md) ran.
docker's passphrase variables are set.
`library/app:1` is signed by `alice`, `library/app:2` is pushed and not signed, and `alice.pub` is her public key.
No example knows what another has done.

```python
{PREAMBLE}```
"""


def pages() -> dict[Path, str]:
    """What the files in docs/reference/trust must hold, by path."""
    rows = []
    for subject in SUBJECTS:
        names = ", ".join(f"[`{name}`]({subject.file}.md#{_anchor(name)})" for name in subject.names)
        rows.append(f"| [{subject.title}]({subject.file}.md) | {names} |")
    made = {FOLDER / "index.md": _INDEX % "\n".join(rows)}
    for subject in SUBJECTS:
        head = f"# {subject.title}\n\n{_linked(subject.lead, subject, '')}\n"
        tree = f"\n{error_tree()}\n" if subject.file == "errors" else ""
        below = "".join(_item(item, subject) for name in subject.names for item in _with_members(name))
        made[FOLDER / f"{subject.file}.md"] = head + tree + below
    return made


def error_tree() -> str:
    """The errors in a drawing, and what each is."""
    rows = ["| error | status | code | reason | who has to act |", "| --- | --- | --- | --- | --- |"]
    for error in _descend(trust.TrustError):
        reason = f"`{error.reason}`" if issubclass(error, trust.UntrustedError) else ""
        name = f"[`{error.__name__}`](#{_anchor(error.__name__)})"
        rows.append(f"| {name} | {error.status} | `{error.code}` | {reason} | {_blame(error)} |")
    drawing = "\n".join(_drawn(trust.TrustError))
    return (
        f"```text\n{drawing}\n```\n\n" + "\n".join(rows) + "\n\n`status` and `code` are what a service answers with "
        "when it knows nothing more exact.\nThe reasons are those of [refused pulls](../refusals.md).\n"
        "The commands' exit codes follow the same families: [troth](../troth.md)."
    )


def _children(error: type[trust.TrustError]) -> list[type[trust.TrustError]]:
    return [below for below in error.__subclasses__() if getattr(trust, below.__name__, None) is below]


def _descend(error: type[trust.TrustError]) -> Iterator[type[trust.TrustError]]:
    yield error
    for below in _children(error):
        yield from _descend(below)


def _drawn(error: type[trust.TrustError], before: str = "", below: str = "") -> Iterator[str]:
    yield f"{before}{error.__name__}"
    children = _children(error)
    for child in children:
        last = child is children[-1]
        yield from _drawn(child, f"{below}{'└── ' if last else '├── '}", f"{below}{'    ' if last else '│   '}")


def _blame(error: type[trust.TrustError]) -> str:
    return next(_BLAME[each.__name__] for each in error.__mro__ if each.__name__ in _BLAME)


def _with_members(name: str) -> list[Item]:
    return [item for item in _ITEMS.values() if item.name == name or item.name.startswith(f"{name}.")]


def _item(item: Item, subject: Subject) -> str:
    lines = [f"\n{'###' if '.' in item.name else '##'} {item.name}\n", _signature(item)]
    for part in item.parts:
        kind, value = part.kind.value, part.value
        if kind == "text":
            lines.append(f"{_linked(value, subject, item.name)}\n")
        elif kind == "returns":
            lines.append(f"Returns: {_linked(_line(value[0].description), subject, item.name)}\n")
        elif kind == "examples":
            code = "\n".join(text for _, text in value)
            lines.append(f"```pycon\n{code}\n```\n")
        else:
            lines.append(f"{_TITLES[kind]}:\n")
            for each in value:
                name = str(each.annotation) if kind == "raises" else each.name
                told = _linked(_line(each.description), subject, item.name)
                lines.append(f"- {_linked(f'`{name}`', subject, item.name)}: {told}")
            lines.append("")
    return "\n".join(line for line in lines if line is not None)


def _signature(item: Item) -> str | None:
    node, short = item.node, item.name.rpartition(".")[2]
    if isinstance(node, griffe.Class):
        base = node.bases[0] if node.bases else ""
        if str(base) == "Protocol" or (item.name in _ERRORS and not item.parameters):
            return None
        text = f"{short}({_arguments(item)})"
    elif isinstance(node, griffe.Function):
        result = f" -> {node.returns}" if node.returns is not None else ""
        text = f"{short}({_arguments(item)}){result}"
    elif item.is_property:
        text = f"{short}: {node.annotation}"  # type: ignore[attr-defined]  # a property has one
    else:
        text = f"{short} = {node.value}"  # type: ignore[attr-defined]  # a constant has one
    if len(text) > _WIDTH and "(" in text:
        inside = _arguments(item, ",\n    ")
        head, tail = text.partition("(")[0], text.rpartition(")")[2]
        text = f"{head}(\n    {inside},\n){tail}"
    return f"```python\n{text}\n```\n"


def _arguments(item: Item, between: str = ", ") -> str:
    """The parameters as they are written, with the star before those that need their names."""
    written, starred = [], False
    for each in item.parameters:
        if each.kind is griffe.ParameterKind.keyword_only and not starred:
            written.append("*")
            starred = True
        starred = starred or each.kind is griffe.ParameterKind.var_positional
        written.append(_parameter(each))
    return between.join(written)


def _parameter(parameter: griffe.Parameter) -> str:
    star = "*" if parameter.kind is griffe.ParameterKind.var_positional else ""
    kind = f": {parameter.annotation}" if parameter.annotation is not None else ""
    default = "" if parameter.default is None or star else f" = {_default(str(parameter.default))}"
    return f"{star}{parameter.name}{kind}{default}"


def _default(source: str) -> str:
    """A default as a reader wants to see it."""
    match = re.fullmatch(r"field\(.*default_factory=(\w+).*\)", source)
    if match:
        return f"{match[1]}()"
    return "now" if source.startswith("lambda") else source


def _line(text: str) -> str:
    return " ".join(text.split())


def _linked(text: str, subject: Subject, own: str) -> str:
    """The text, with public names as links to where they are told."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name not in _ITEMS or name == own:
            return match[0]
        home = next(each for each in SUBJECTS if name.partition(".")[0] in each.names)
        page = "" if home is subject else f"{home.file}.md"
        return f"[`{name}`]({page}#{_anchor(name)})"

    return _NAME.sub(link, text)


def _anchor(name: str) -> str:
    return name.lower().replace(".", "")
