# SPDX-License-Identifier: Apache-2.0
"""`registry.manifests`: what is a manifest, and what only looks like one (REGISTRY_API §4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pushes import CONFIG_TYPE, LAYER_TYPE, descriptor, digest_of, image_manifest, index_manifest
from registry.errors import ManifestInvalidError
from registry.manifests import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    KINDS,
    MAX_CHILDREN,
    MAX_DEPTH,
    OCI_IMAGE,
    OCI_INDEX,
    Kind,
    Part,
    Reference,
    parse,
)

CONFIG, LAYER = b"{}", b"layer"
IMAGE = image_manifest(CONFIG, [LAYER])


def changed(manifest: bytes, **fields: object) -> bytes:
    """`manifest` with other fields; None takes one away."""
    body = json.loads(manifest) | fields
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def refused(manifest: bytes, content_type: str = OCI_IMAGE) -> str:
    """Why `manifest` is refused."""
    with pytest.raises(ManifestInvalidError) as caught:
        parse(manifest, content_type)
    assert (caught.value.status, caught.value.code) == (400, "MANIFEST_INVALID")
    return caught.value.message


def test_an_image_names_its_config_and_its_layers() -> None:
    manifest = parse(IMAGE, OCI_IMAGE)
    assert (manifest.media_type, manifest.kind) == (OCI_IMAGE, Kind.IMAGE)
    assert manifest.config is not None
    assert (manifest.config.media_type, manifest.config.size) == (CONFIG_TYPE, len(CONFIG))
    assert manifest.references == (
        Reference(digest_of(CONFIG), Part.CONFIG),
        Reference(digest_of(LAYER), Part.LAYER),
    )
    assert manifest.needed_blobs == {digest_of(CONFIG), digest_of(LAYER)}
    assert manifest.needed_manifests == frozenset()


def test_an_index_names_its_manifests() -> None:
    manifest = parse(index_manifest([IMAGE]), OCI_INDEX)
    assert (manifest.kind, manifest.config, manifest.layers) == (Kind.INDEX, None, ())
    assert manifest.references == (Reference(digest_of(IMAGE), Part.MANIFEST),)
    assert manifest.needed_manifests == {digest_of(IMAGE)}


@pytest.mark.parametrize("media_type", [DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX])
def test_all_four_media_types_are_taken(media_type: str) -> None:
    """R4.1."""
    body = index_manifest([], media_type=media_type)
    if KINDS[media_type] is Kind.IMAGE:
        body = image_manifest(CONFIG, [], media_type=media_type)
    assert parse(body, media_type).media_type == media_type


def test_parameters_of_the_content_type_are_ignored() -> None:
    """R4.2."""
    assert parse(IMAGE, OCI_IMAGE + "; charset=utf-8").media_type == OCI_IMAGE


def test_an_oci_manifest_need_not_repeat_its_media_type() -> None:
    assert parse(changed(IMAGE, mediaType=None), OCI_IMAGE).media_type == OCI_IMAGE


def test_without_a_content_type_the_field_counts() -> None:
    assert parse(IMAGE, "").media_type == OCI_IMAGE


def test_the_type_of_a_docker_manifest_must_be_in_its_bytes() -> None:
    # Else the same bytes could be pushed as two types.
    docker = image_manifest(CONFIG, [LAYER], media_type=DOCKER_IMAGE)
    assert "mediaType" in refused(changed(docker, mediaType=None), DOCKER_IMAGE)


def test_a_media_type_other_than_the_content_type_is_refused() -> None:
    """R4.2."""
    assert "Content-Type" in refused(IMAGE, DOCKER_IMAGE)
    assert "Content-Type" in refused(IMAGE, OCI_INDEX)


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "", "; charset=utf-8"])
def test_an_unknown_media_type_is_refused(content_type: str) -> None:
    assert "media type" in refused(changed(IMAGE, mediaType=None), content_type)


@pytest.mark.parametrize("ending", ["+json", "+prettyjws"])
def test_schema_1_is_refused_by_name(ending: str) -> None:
    """R4.1."""
    body = json.dumps({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}).encode()
    assert "schema 1" in refused(body, "application/vnd.docker.distribution.manifest.v1" + ending)
    assert "schema 1" in refused(body, "application/json")


@pytest.mark.parametrize("version", [1, 3, "2", 2.0, True, None])
def test_any_other_schema_version_is_refused(version: object) -> None:
    assert "schemaVersion" in refused(changed(IMAGE, schemaVersion=version))


@pytest.mark.parametrize("field", ["config", "layers"])
def test_an_index_that_is_also_an_image_is_refused(field: str) -> None:
    """R4.2."""
    # CVE-2021-41190
    both = json.loads(index_manifest([IMAGE])) | {field: json.loads(IMAGE)[field]}
    assert "index" in refused(json.dumps(both).encode(), OCI_INDEX)


@pytest.mark.parametrize("manifests", [[], [descriptor(IMAGE, OCI_IMAGE)]])
def test_an_image_that_is_also_an_index_is_refused(manifests: list[object]) -> None:
    """R4.2."""
    # CVE-2021-41190
    assert "image" in refused(changed(IMAGE, manifests=manifests))


@pytest.mark.parametrize(
    "twice",
    [
        IMAGE[:-1] + b', "layers": []}',
        IMAGE[:-1] + b', "annotations": {"a": "1", "a": "2"}}',
        IMAGE.replace(b'"size": 5', b'"size": 5, "digest": "sha256:00"'),
    ],
)
def test_a_key_that_is_there_twice_is_refused(twice: bytes) -> None:
    """R4.2."""
    assert twice != IMAGE
    assert "twice" in refused(twice)


@pytest.mark.parametrize("key", ["Layers", "LAYERS", "layer\u017f", "MediaType"])
def test_a_key_that_go_would_take_for_another_is_refused(key: str) -> None:
    assert "looks like" in refused(changed(IMAGE, **{key: []}))


def test_the_same_holds_within_a_descriptor() -> None:
    body = json.loads(IMAGE)
    body["layers"][0]["Digest"] = digest_of(b"another")
    assert "looks like" in refused(json.dumps(body).encode())


def test_annotations_may_differ_by_case() -> None:
    assert parse(changed(IMAGE, annotations={"a": "1", "A": "2"}), OCI_IMAGE).annotations == {"a": "1", "A": "2"}


def test_unknown_fields_are_none_of_our_business() -> None:
    """R2.25."""
    body = json.loads(IMAGE) | {"x": {"y": [None, 1.5]}}
    body["config"] |= {"data": "e30=", "z": 1}
    assert parse(json.dumps(body).encode(), OCI_IMAGE).layers == parse(IMAGE, OCI_IMAGE).layers


@pytest.mark.parametrize("inner", ['{"a":', "["])
def test_nesting_has_a_limit_that_is_the_same_for_everybody(inner: str) -> None:
    closing = "]" if inner == "[" else "}"
    allowed, forbidden = (
        IMAGE[:-1] + f', "x": {inner * deep}{"[]" if inner == "[" else "{}"}{closing * deep}}}'.encode()
        for deep in (MAX_DEPTH - 2, MAX_DEPTH - 1)
    )
    assert parse(allowed, OCI_IMAGE).kind is Kind.IMAGE
    assert "deep" in refused(forbidden)
    assert "deep" in refused(b"[" * 2**20)


def test_brackets_within_strings_are_not_nesting() -> None:
    assert parse(changed(IMAGE, annotations={"a": '[{"\\' * 500}), OCI_IMAGE).kind is Kind.IMAGE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{not json",
        b'"text"',
        IMAGE + b"{}",
        b"\xef\xbb\xbf" + IMAGE,
        IMAGE.decode().encode("utf-16"),
        IMAGE[:-1] + b', "x": "\xff"}',
        IMAGE[:-1] + b', "x": NaN}',
        IMAGE[:-1] + b', "x": Infinity}',
        IMAGE[:-1] + b', "x": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_in_utf_8_is_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("size", [-1, 1.0, "5", True, None, 2**63])
def test_a_size_is_a_whole_number(size: object) -> None:
    body = json.loads(IMAGE)
    body["layers"][0]["size"] = size
    assert "layers[0].size" in refused(json.dumps(body).encode())


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:zz", "md5:" + "0" * 32, "sha256:" + "A" * 64, "sha256:" + "0" * 65, 5, None]
)
def test_a_digest_is_a_digest(digest: object) -> None:
    body = json.loads(IMAGE)
    body["config"]["digest"] = digest
    assert "config.digest" in refused(json.dumps(body).encode())


@pytest.mark.parametrize("value", ["x" * 256, "a\nb", "\x00", "caf\u00e9", 5, ["a"], " a"])
def test_a_media_type_can_be_written_into_a_header_and_a_column(value: object) -> None:
    assert "artifactType" in refused(changed(IMAGE, artifactType=value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config", []),
        ("config", "x"),
        ("layers", {}),
        ("layers", [5]),
        ("subject", []),
        ("annotations", []),
        ("annotations", {"a": 1}),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, value: object) -> None:
    assert field in refused(changed(IMAGE, **{field: value}))


@pytest.mark.parametrize("field", ["config", "layers"])
def test_what_every_image_has_must_not_be_missing(field: str) -> None:
    assert field in refused(changed(IMAGE, **{field: None}))


@pytest.mark.parametrize("empty", [[], None])
def test_empty_lists_are_taken_also_as_go_writes_them(empty: object) -> None:
    """R2.25."""
    layers = json.loads(IMAGE) | {"layers": empty}
    assert parse(json.dumps(layers).encode(), OCI_IMAGE).layers == ()
    manifests = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": empty}
    assert parse(json.dumps(manifests).encode(), OCI_INDEX).children == ()


def test_the_number_of_children_has_a_limit() -> None:
    many: list[Any] = [descriptor(LAYER, LAYER_TYPE)] * MAX_CHILDREN
    assert len(parse(changed(IMAGE, layers=many), OCI_IMAGE).layers) == MAX_CHILDREN
    assert str(MAX_CHILDREN) in refused(changed(IMAGE, layers=[*many, many[0]]))


@pytest.mark.parametrize(
    "more",
    [
        {"urls": ["https://example.com/x"]},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
    ],
)
def test_a_foreign_layer_is_named_but_not_needed(more: dict[str, object]) -> None:
    """R2.21."""
    manifest = parse(changed(IMAGE, layers=[descriptor(LAYER, LAYER_TYPE) | more]), OCI_IMAGE)
    assert Reference(digest_of(LAYER), Part.LAYER) in manifest.references
    assert manifest.needed_blobs == {digest_of(CONFIG)}


def test_an_index_may_name_plain_content_as_old_build_caches_do() -> None:
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(LAYER, LAYER_TYPE)]}
    ).encode()
    manifest = parse(body, OCI_INDEX)
    assert manifest.references == (Reference(digest_of(LAYER), Part.LAYER),)
    assert manifest.needed_blobs == {digest_of(LAYER)}
    assert not manifest.needed_manifests


def test_a_subject_is_named_but_not_needed() -> None:
    manifest = parse(changed(IMAGE, subject=descriptor(b"subject", OCI_IMAGE)), OCI_IMAGE)
    assert Reference(digest_of(b"subject"), Part.SUBJECT) in manifest.references
    assert digest_of(b"subject") not in manifest.needed_blobs | manifest.needed_manifests


def test_the_artifact_type_of_an_image_falls_back_to_its_config() -> None:
    """R2.23."""
    assert parse(IMAGE, OCI_IMAGE).artifact_type == CONFIG_TYPE
    assert parse(changed(IMAGE, artifactType=""), OCI_IMAGE).artifact_type == CONFIG_TYPE
    assert parse(changed(IMAGE, artifactType="application/x"), OCI_IMAGE).artifact_type == "application/x"
    assert parse(index_manifest([]), OCI_INDEX).artifact_type is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_keys = st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations"])


def _never_fails(data: bytes, content_type: str) -> None:
    try:
        parse(data, content_type)
    except ManifestInvalidError as error:
        error.message.encode()  # it can be sent


@given(st.binary(), st.sampled_from([*KINDS, "", "application/json"]) | st.text())
@example(b"[" * 100_000, OCI_IMAGE)
@example(b'{"a":' * 100_000, OCI_IMAGE)
@example(b'"' + b'\\"' * 100_000, OCI_IMAGE)
def test_arbitrary_bytes_raise_nothing_but_our_own_error(data: bytes, content_type: str) -> None:
    _never_fails(data, content_type)


@given(st.dictionaries(_keys, _json), st.sampled_from(list(KINDS)))
def test_arbitrary_fields_raise_nothing_but_our_own_error(fields: dict[str, object], media_type: str) -> None:
    body = json.loads(IMAGE) if KINDS[media_type] is Kind.IMAGE else json.loads(index_manifest([IMAGE]))
    _never_fails(json.dumps(body | {"mediaType": media_type} | fields).encode(), media_type)


@given(st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "urls", "platform", "Size"]), _json))
def test_arbitrary_descriptors_raise_nothing_but_our_own_error(fields: dict[str, object]) -> None:
    layer = descriptor(LAYER, LAYER_TYPE) | fields
    _never_fails(json.dumps(json.loads(IMAGE) | {"layers": [layer]}).encode(), OCI_IMAGE)
