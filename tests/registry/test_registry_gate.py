# SPDX-License-Identifier: Apache-2.0
"""Who may do what, and what may leave: every route asks for a token, every read path asks the enforcer.

The notary server of these tests knows no trust data, so nothing is signed, or it is out of reach, so nothing can be
decided.  What signed content may do is shown by the tests of `registry.enforce`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from flask import Response
from werkzeug.test import TestResponse

from pushes import Headers, Image, Site, code_of, descriptor, digest_of, image_manifest
from registry.manifests import OCI_IMAGE
from registry.views.routes import GATED, endpoints, expose
from trust.names import RepositoryName

APP, OTHER = "library/app", "library/other"
UPLOAD = "00000000-0000-4000-8000-000000000000"
DIGEST = digest_of(b"x")


class _NoTrustData(BaseHTTPRequestHandler):
    """A notary server at which nothing was ever signed."""

    def do_GET(self) -> None:
        body = (
            b'{"errors":[{"code":"METADATA_NOT_FOUND","message":"You have requested metadata that does not exist."}]}'
        )
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def empty_notary() -> Iterator[str]:
    """The address of a notary server without trust data."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _NoTrustData)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def unsigned(tmp_path: Path, empty_notary: str) -> Site:
    """A registry that enforces, and where nothing is signed."""
    return Site(tmp_path, trust_mode="enforced", notary_url=empty_notary)


@pytest.fixture
def undecided(tmp_path: Path) -> Site:
    """A registry that enforces, and whose notary server is out of reach."""
    return Site(tmp_path, trust_mode="enforced", notary_url="http://127.0.0.1:9")


def reads(site: Site, image: Image, rights: Headers) -> dict[str, TestResponse]:
    """Every way to read the bytes of an image."""
    layer = digest_of(image.layers[0])
    answers = {}
    for kind, path, digest in (
        ("by tag", f"/v2/{APP}/manifests/1", image.digest),
        ("by digest", f"/v2/{APP}/manifests/{image.digest}", image.digest),
        ("by sha512", f"/v2/{APP}/manifests/{digest_of(image.manifest, 'sha512')}", image.digest),
        ("layer", f"/v2/{APP}/blobs/{layer}", layer),
        ("config", f"/v2/{APP}/blobs/{digest_of(image.config)}", digest_of(image.config)),
    ):
        answers[f"{kind} GET"] = site.get(path, rights)
        answers[f"{kind} HEAD"] = site.head(path, rights)
        answers[f"{kind} 304"] = site.get(path, rights, If_None_Match=f'"{digest}"')
        answers[f"{kind} HEAD 304"] = site.head(path, rights, If_None_Match="*")
        answers[f"{kind} 206"] = site.get(path, rights, Range="bytes=0-1")
        answers[f"{kind} 416"] = site.get(path, rights, Range="bytes=99999-")
    return answers


def test_no_way_to_read_serves_what_is_not_signed(unsigned: Site) -> None:
    """R7.2."""
    image = unsigned.push_image(APP, "1")
    for way, answer in reads(unsigned, image, unsigned.pull(APP)).items():
        assert answer.status_code == 403, way
        if "HEAD" not in way:
            assert code_of(answer) == "DENIED", way
            assert json.loads(answer.data)["errors"][0]["detail"]["reason"] == "UNSIGNED", way
        for header in ("Docker-Content-Digest", "ETag", "Content-Range"):
            assert header not in answer.headers, way


def test_no_way_to_read_serves_what_cannot_be_decided(undecided: Site) -> None:
    image = undecided.push_image(APP, "1")
    for way, answer in reads(undecided, image, undecided.pull(APP)).items():
        assert answer.status_code == 503, way
        assert answer.headers["Retry-After"], way
        for header in ("Docker-Content-Digest", "ETag", "Content-Range"):
            assert header not in answer.headers, way


def test_who_may_push_may_read_what_is_to_be_signed(unsigned: Site) -> None:
    image = unsigned.push_image(APP, "1")
    for way, answer in reads(unsigned, image, unsigned.push(APP)).items():
        assert answer.status_code in (200, 206, 304, 416), way


def test_permissive_serves_with_a_warning(tmp_path: Path, empty_notary: str) -> None:
    """R5.5."""
    site = Site(tmp_path, trust_mode="permissive", notary_url=empty_notary)
    image = site.push_image(APP, "1")
    for way, answer in reads(site, image, site.pull(APP)).items():
        assert answer.status_code in (200, 206, 304, 416), way
        warning = answer.headers["Warning"]
        assert warning.startswith('299 - "would be refused: '), way
        assert warning.endswith('"'), way
        assert warning.count('"') == 2, way
    assert "Warning" not in site.get(f"/v2/{APP}/manifests/1", site.push(APP)).headers


def test_what_is_not_there_is_404_before_anything_is_decided(undecided: Site) -> None:
    undecided.push_image(APP, "1")
    for path in ("manifests/2", f"manifests/{DIGEST}", f"blobs/{DIGEST}"):
        assert undecided.get(f"/v2/{APP}/{path}", undecided.pull(APP)).status_code == 404


def push_signature(site: Site, image: Image) -> None:
    """Push something that refers to an image."""
    data = image_manifest(image.config, [], subject=descriptor(image.manifest, OCI_IMAGE))
    assert site.put_manifest(APP, digest_of(data), data).status_code == 201


def test_referrers_that_may_not_leave_are_not_listed(unsigned: Site) -> None:
    image = unsigned.push_image(APP, "1")
    push_signature(unsigned, image)
    path = f"/v2/{APP}/referrers/{image.digest}"
    answer = unsigned.get(path, unsigned.pull(APP))
    assert (answer.status_code, json.loads(answer.data)["manifests"]) == (200, [])
    assert len(json.loads(unsigned.get(path, unsigned.push(APP)).data)["manifests"]) == 1


def test_referrers_that_cannot_be_decided_about_fail_the_request(undecided: Site) -> None:
    image = undecided.push_image(APP, "1")
    push_signature(undecided, image)
    answer = undecided.get(f"/v2/{APP}/referrers/{image.digest}", undecided.pull(APP))
    assert (answer.status_code, code_of(answer)) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("source", [f"&from={OTHER}", ""])
@pytest.mark.parametrize("kind", ["unsigned", "undecided"])
def test_a_blob_that_may_not_leave_its_repository_is_not_mounted(
    request: pytest.FixtureRequest, kind: str, source: str
) -> None:
    """R2.11."""
    site: Site = request.getfixturevalue(kind)
    digest = site.push_blob(OTHER, b"not signed there")
    rights = site.token(f"repository:{APP}:pull,push", f"repository:{OTHER}:pull")
    answer = site.client.post(f"/v2/{APP}/blobs/uploads/?mount={digest}{source}", headers=rights)
    assert (answer.status_code, answer.data) == (202, b"")
    assert site.head(f"/v2/{APP}/blobs/{digest}", site.push(APP)).status_code == 404


# What each route wants ----------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", f"manifests/{DIGEST}", "pull"),
    ("HEAD", f"manifests/{DIGEST}", "pull"),
    ("GET", "manifests/1", "pull"),
    ("PUT", "manifests/1", "pull,push"),
    ("DELETE", "manifests/1", "delete"),
    ("GET", f"blobs/{DIGEST}", "pull"),
    ("HEAD", f"blobs/{DIGEST}", "pull"),
    ("DELETE", f"blobs/{DIGEST}", "delete"),
    ("GET", f"referrers/{DIGEST}", "pull"),
    ("GET", "tags/list", "pull"),
    ("POST", "blobs/uploads/", "pull,push"),
    ("GET", f"blobs/uploads/{UPLOAD}", "pull,push"),
    ("PATCH", f"blobs/uploads/{UPLOAD}", "pull,push"),
    ("PUT", f"blobs/uploads/{UPLOAD}?digest={DIGEST}", "pull,push"),
    ("DELETE", f"blobs/uploads/{UPLOAD}", "pull,push"),
]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


@pytest.mark.parametrize(("method", "path", "actions"), ROUTES)
def test_a_route_without_a_token_is_401_and_names_the_scope(site: Site, method: str, path: str, actions: str) -> None:
    """R2.4a, R6.1."""
    answer = site.send(method, f"/v2/{APP}/{path}", headers={})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="https://localhost:5000/auth/token",service="troth",scope="repository:{APP}:{actions}"'
    )
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    if method != "HEAD":
        assert code_of(answer) == "UNAUTHORIZED"


@pytest.mark.parametrize(("method", "path", "actions"), ROUTES)
def test_a_route_wants_exactly_its_actions_on_exactly_its_repository(
    site: Site, method: str, path: str, actions: str
) -> None:
    for name, given, enough in (
        (APP, actions, True),
        (f"localhost:5000/{APP}", actions, True),
        (APP, "*", True),
        (OTHER, actions, False),
        (f"elsewhere.example/{APP}", actions, False),
        (APP, {"pull": "push,delete", "pull,push": "pull,delete", "delete": "pull,push"}[actions], False),
    ):
        answer = site.send(method, f"/v2/{APP}/{path}", headers=site.token(f"repository:{name}:{given}"))
        assert (answer.status_code != 401) == enough, (name, given)
        if not enough:
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_the_ping_wants_any_valid_token(site: Site) -> None:
    """R2.1."""
    answer = site.get("/v2/")
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge == 'Bearer realm="https://localhost:5000/auth/token",service="troth"'
    assert site.get("/v2/", {"Authorization": "Bearer x.y.z"}).status_code == 401
    assert site.get("/v2/", site.token()).json == {}


def test_the_catalog_wants_its_own_right(site: Site) -> None:
    """R2.15."""
    for rights in ({}, site.token(), site.push(APP), site.token("registry:catalog:pull")):
        answer = site.get("/v2/_catalog", rights)
        assert (answer.status_code, code_of(answer)) == (401, "UNAUTHORIZED")
        assert 'scope="registry:catalog:*"' in answer.headers["WWW-Authenticate"]


def test_a_mount_without_a_token_asks_for_both_scopes(site: Site) -> None:
    """R2.11, R6.1."""
    answer = site.send("POST", f"/v2/{APP}/blobs/uploads/?mount={DIGEST}&from={OTHER}", headers={})
    assert answer.status_code == 401
    scopes = f'scope="repository:{APP}:pull,push repository:{OTHER}:pull"'
    assert scopes in answer.headers["WWW-Authenticate"]


def test_a_registry_without_tokens_lets_everybody_in(tmp_path: Path) -> None:
    site = Site(tmp_path, trust_mode="disabled", token_certificate=None)
    image = site.push_image(APP, "1")
    assert site.get(f"/v2/{APP}/manifests/1").data == image.manifest
    assert site.get("/v2/").status_code == site.get("/v2/_catalog").status_code == 200


def test_a_registry_without_tokens_serves_nothing_unsigned_all_the_same(tmp_path: Path, empty_notary: str) -> None:
    site = Site(tmp_path, trust_mode="enforced", token_certificate=None, notary_url=empty_notary)
    site.push_image(APP, "1")
    assert site.get(f"/v2/{APP}/manifests/1").status_code == 403


def test_every_get_of_a_repository_is_gated_or_says_why_not(site: Site) -> None:
    known = endpoints(site.app)
    ours = [rule for rule in site.app.url_map.iter_rules() if rule.endpoint in known]
    assert len(ours) == len(known) == 15
    gated = {rule.rule for rule in ours if known[rule.endpoint] == GATED}
    assert gated == {
        "/v2/<repository:name>/manifests/<reference>",
        "/v2/<repository:name>/blobs/<digest>",
        "/v2/<repository:name>/referrers/<digest>",
    }
    assert all(len(reason) > 10 for reason in known.values() if reason != GATED)


def test_a_gated_view_that_does_not_ask_is_not_heard(site: Site) -> None:
    def forgetful(repository: RepositoryName) -> Response:
        return Response(f"the content of {repository}")

    expose(site.app, "GET", "/v2/<repository:name>/secret/", forgetful, content=GATED)
    answer = site.get(f"/v2/{APP}/secret/", site.pull(APP))
    assert (answer.status_code, code_of(answer)) == (500, "UNKNOWN")
    assert "content" not in answer.text
