# SPDX-License-Identifier: Apache-2.0
"""What a manifest says (REGISTRY_API §4).

`parse` takes the bytes and the Content-Type that came with them and gives a frozen `Manifest`, or raises
`ManifestInvalidError`.  It looks nothing up: whether the named parts exist is asked of `registry.repositories`.  The
bytes are stored as they came; fields that are not understood are neither dropped nor complained about.

The rules, all of which keep two readers from seeing two different things in the same bytes (CVE-2021-41190):
* UTF-8 without a byte order mark, one JSON object, no key twice, no NaN, not nested deeper than `MAX_DEPTH`;
* no key that differs from a known one by its case alone: Go's JSON reader would take it for the known one;
* `mediaType`, if present, equals the Content-Type without its parameters; Docker's types must have it;
* an image has `config` and `layers` and no `manifests`; an index has `manifests` and neither of the others;
* schema 1 and unknown media types are refused, and so are more than `MAX_CHILDREN` parts.

    manifest = parse(data, "application/vnd.oci.image.manifest.v1+json; charset=utf-8")
    manifest.references      # (Reference(digest, "config"), Reference(digest, "layer"), …)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any, NoReturn

from registry.errors import ManifestInvalidError
from trust.errors import InvalidError
from trust.names import Digest

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

MAX_DEPTH = 64
MAX_CHILDREN = 4096

_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_MEDIA_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one deeper, or as a signed byte one back
_NO_STEPS = bytes(set(range(256)) - set(b"[{]}"))
_TOP_KEYS = frozenset(
    ("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations")
)
_DESCRIPTOR_KEYS = frozenset(
    ("mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
)


class Kind(StrEnum):
    """What a manifest is."""

    IMAGE = "image"
    INDEX = "index"


class Part(StrEnum):
    """As what a manifest names something."""

    CONFIG = "config"
    LAYER = "layer"
    MANIFEST = "manifest"
    SUBJECT = "subject"


KINDS: Mapping[str, Kind] = {
    OCI_IMAGE: Kind.IMAGE,
    DOCKER_IMAGE: Kind.IMAGE,
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A named part: what it is, its digest and its size."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()

    @property
    def is_manifest(self) -> bool:
        """Whether this part is a manifest; an index may also name plain content."""
        return self.media_type in KINDS

    @property
    def is_elsewhere(self) -> bool:
        """Whether the content may be fetched from somewhere else, and need not be in the registry."""
        return bool(self.urls) or "nondistributable" in self.media_type or ".foreign." in self.media_type


@dataclass(frozen=True, slots=True)
class Reference:
    """An edge of the graph: this digest is named as that part."""

    digest: Digest
    part: Part


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest or an index of manifests.

    `artifact_type` is what referrers are listed under: the field of that name, or else the type of an image's config.
    """

    media_type: str
    kind: Kind
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    annotations: Mapping[str, str]

    @property
    def references(self) -> tuple[Reference, ...]:
        """Everything that this manifest names, each digest once for each part that it plays."""
        named = [(self.config, Part.CONFIG), (self.subject, Part.SUBJECT)]
        named += [(layer, Part.LAYER) for layer in self.layers]
        # Old build caches are indexes of layers: those are content, not manifests.
        named += [(child, Part.MANIFEST if child.is_manifest else Part.LAYER) for child in self.children]
        found = (Reference(descriptor.digest, part) for descriptor, part in named if descriptor is not None)
        return tuple(dict.fromkeys(found))

    @property
    def needed_blobs(self) -> frozenset[Digest]:
        """Content that the repository must hold before it takes this manifest: all but foreign layers."""
        config = (self.config,) if self.config else ()
        own = (*config, *(layer for layer in self.layers if not layer.is_elsewhere), *self.children)
        return frozenset(each.digest for each in own) - self.needed_manifests

    @property
    def needed_manifests(self) -> frozenset[Digest]:
        """Manifests that the repository must hold before it takes this one."""
        return frozenset(child.digest for child in self.children if child.is_manifest)


def media_type_of(content_type: str) -> str:
    """The media type in a Content-Type header, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def parse(data: bytes, content_type: str) -> Manifest:
    """Read a manifest.

    Args:
        data: its bytes.
        content_type: the header that came with them; empty if there was none.

    Raises:
        ManifestInvalidError: it breaks a rule of this module.
    """
    body = _decode(data)
    _refuse_lookalikes(body, _TOP_KEYS)
    media_type = _media_type(body, media_type_of(content_type))
    if type(body.get("schemaVersion")) is not int or body["schemaVersion"] != 2:
        _refuse("schemaVersion must be 2")
    kind = KINDS[media_type]
    config, layers, children = _parts(body, kind)
    declared = _optional_media_type(body, "artifactType")
    return Manifest(
        media_type=media_type,
        kind=kind,
        config=config,
        layers=layers,
        children=children,
        subject=_descriptor(body["subject"], "subject") if body.get("subject") is not None else None,
        artifact_type=declared or (config.media_type if config else None),
        annotations=_annotations(body.get("annotations")),
    )


def _refuse(why: str) -> NoReturn:
    raise ManifestInvalidError(f"the manifest is not valid: {why}")


def _decode(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
        body = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ManifestInvalidError("the manifest is not valid: it is not UTF-8") from error
    except RecursionError as error:
        raise ManifestInvalidError("the manifest is not valid: it is nested too deeply") from error
    except ValueError as error:
        raise ManifestInvalidError("the manifest is not valid: it is not JSON") from error
    if not isinstance(body, dict):
        _refuse("it is not a JSON object")
    _refuse_depth(text)
    return body


def _refuse_depth(text: str) -> None:
    # json's own limit follows from how deep the caller's stack is; ours is the same for everybody, for ever.  Called
    # after json has read the text, so that every string in it has an end.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    steps = _STRING.sub("", text).encode().translate(_STEPS, _NO_STEPS)
    if max(accumulate(memoryview(steps).cast("b"))) > MAX_DEPTH:
        _refuse("it is nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("an object has the same key twice")
    return found


def _no_constant(_: str) -> NoReturn:
    _refuse("NaN and Infinity are not JSON")


def _refuse_lookalikes(body: Mapping[str, Any], known: frozenset[str]) -> None:
    folded = {key.casefold(): key for key in known}
    for key in body:
        if key not in known and (meant := folded.get(key.casefold())):
            _refuse(f"a key looks like {meant} and is written differently")


def _media_type(body: Mapping[str, Any], sent: str) -> str:
    inside = body.get("mediaType")
    if inside is not None and not isinstance(inside, str):
        _refuse("mediaType must be a string")
    media_type = sent or inside or ""
    if media_type in _SCHEMA_1 or (body.get("schemaVersion") == 1 and media_type not in KINDS):
        _refuse("schema 1 is not supported; push it as schema 2 or OCI")
    if media_type not in KINDS:
        _refuse("its media type is unknown; send an OCI or Docker image manifest or index")
    if inside is None and media_type in (DOCKER_IMAGE, DOCKER_LIST):
        _refuse("this media type needs the field mediaType")
    if inside is not None and inside != media_type:
        _refuse("its mediaType differs from the Content-Type")
    return media_type


def _parts(
    body: Mapping[str, Any], kind: Kind
) -> tuple[Descriptor | None, tuple[Descriptor, ...], tuple[Descriptor, ...]]:
    if kind is Kind.INDEX:
        if "layers" in body or "config" in body:
            _refuse("an index has neither config nor layers")
        return None, (), _descriptors(body, "manifests")
    if "manifests" in body:
        _refuse("an image has no field manifests")
    if "config" not in body:
        _refuse("config is missing")
    return _descriptor(body["config"], "config"), _descriptors(body, "layers"), ()


def _descriptors(body: Mapping[str, Any], field: str) -> tuple[Descriptor, ...]:
    if field not in body:
        _refuse(f"{field} is missing")
    listed = body[field]
    if listed is None:  # Go writes an empty list as null
        return ()
    if not isinstance(listed, list):
        _refuse(f"{field} must be a list")
    if len(listed) > MAX_CHILDREN:
        _refuse(f"{field} has more than {MAX_CHILDREN} entries")
    return tuple(_descriptor(each, f"{field}[{index}]") for index, each in enumerate(listed))


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        _refuse(f"{where} must be an object")
    _refuse_lookalikes(value, _DESCRIPTOR_KEYS)
    size = value.get("size")
    if type(size) is not int or not 0 <= size < 2**63:
        _refuse(f"{where}.size must be a whole number, 0 or more")
    digest = value.get("digest")
    if not isinstance(digest, str):
        _refuse(f"{where}.digest is missing")
    try:
        checked = Digest(digest)
    except InvalidError as error:
        raise ManifestInvalidError(f"the manifest is not valid: {where}.digest: {error.message}") from error
    urls = value.get("urls")
    if urls is not None and not (isinstance(urls, list) and all(isinstance(url, str) for url in urls)):
        _refuse(f"{where}.urls must be a list of strings")
    media_type = _optional_media_type(value, "mediaType")
    if media_type is None:
        _refuse(f"{where}.mediaType is missing")
    return Descriptor(media_type, checked, size, tuple(urls or ()))


def _optional_media_type(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None or value == "":  # Go writes an unset string as ""
        return None
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        _refuse(f"{field} must be a media type of at most 255 characters")
    return value


def _annotations(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        _refuse("annotations must be strings")
    return value
