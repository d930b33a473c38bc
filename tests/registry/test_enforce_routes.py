# SPDX-License-Identifier: Apache-2.0
"""Every route of the registry is accounted for: it asks the gate, or there is a reason why it need not.

A new route makes these tests fail until somebody has thought about it: a gated one needs an entry in `PROBES`, one
of a blueprint an entry in `ELSEWHERE`, any other has to go through `registry.views.routes.expose`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.routing import Rule

from pushes import descriptor, image_manifest
from registry.views.routes import GATED, endpoints, expose
from trust.names import Digest
from world import APP, World, denial, doubt

#: Endpoints of blueprints, and why no content of a repository leaves through them.
ELSEWHERE = {
    "garant.get_token": "gives tokens",
    "garant.post_token": "gives tokens",
    "notary.site": "what the notary server answers: metadata and keys, never an image",
    "notary.gun": "what the notary server answers: metadata and keys, never an image",
    "notary.tuf": "what the notary server answers: metadata and keys, never an image",
}
#: The accounts' API, which knows names and rights, and no content.
API = ("api.", "/api/v1/")
#: For each gated endpoint a path to unsigned content.
PROBES = {
    "GET /v2/<repository:name>/manifests/<reference>": ("manifests/1", "manifests/{image}"),
    "GET /v2/<repository:name>/blobs/<digest>": ("blobs/{config}", "blobs/{layer}"),
}
#: Gated endpoints that leave out what is not signed, instead of refusing.
LISTS = {"GET /v2/<repository:name>/referrers/<digest>": "referrers/{image}"}

#: What a client may ask of one path.
REQUESTS: dict[str, tuple[str, dict[str, str]]] = {
    "GET": ("GET", {}),
    "HEAD": ("HEAD", {}),
    "the first byte": ("GET", {"Range": "bytes=0-0"}),
    "the rest": ("GET", {"Range": "bytes=1-"}),
    "if changed": ("GET", {"If-None-Match": '"{digest}"'}),
    "if there is anything else": ("GET", {"If-None-Match": "*"}),
    "HEAD if changed": ("HEAD", {"If-None-Match": '"{digest}"'}),
    "if still the same": ("GET", {"If-Match": '"{digest}"'}),
    "since long ago": ("GET", {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A site with an image, and something that refers to it; nobody signed either.  Only to be looked at."""
    world = World(tmp_path_factory.mktemp("site"))
    # So that there is trust data, and the answer is not just that there is none.
    world.publish(APP, {"signed": world.push_image(APP, "signed", seed="signed")})
    image = world.push_image(APP, "1")
    for data in (b"{}", b"bill"):
        world.push_blob(APP, data)
    subject = descriptor(world.manifests[image], "application/vnd.oci.image.manifest.v1+json")
    world.push_manifest(APP, image_manifest(b"{}", [b"bill"], subject=subject))
    return world


def unaccounted(app: Flask) -> list[str]:
    """The endpoints of `app` that nobody has thought about."""
    return [rule.endpoint for rule in app.url_map.iter_rules() if not _is_accounted_for(rule, endpoints(app))]


def _is_accounted_for(rule: Rule, known: dict[str, str]) -> bool:
    if rule.endpoint not in known:
        is_api = rule.endpoint.startswith(API[0]) and rule.rule.startswith(API[1])
        return rule.endpoint in ELSEWHERE or is_api
    if known[rule.endpoint] == GATED and rule.endpoint not in PROBES | LISTS:
        return False
    # The endpoint says method and path, so that one route's reason cannot serve another.
    return bool(known[rule.endpoint]) and _is_named_rightly(rule)


def _is_named_rightly(rule: Rule) -> bool:
    method, _, path = rule.endpoint.partition(" ")
    allowed = {"GET", "HEAD"} if method == "GET" else {method}
    return rule.rule == path and (rule.methods or set()) <= allowed


def paths(world: World, template: str) -> tuple[str, Digest]:
    """A probe's path, and the digest of what is there."""
    image = list(world.manifests)[1]
    config, layer = world.blobs(image)
    path = f"{APP}/{template.format(image=image, config=config, layer=layer)}"
    last = path.rpartition("/")[2]
    return path, Digest(last) if ":" in last else image


def test_every_route_asks_the_gate_or_has_a_reason_not_to(tmp_path: Path) -> None:
    app = World(tmp_path, notary_url="https://localhost:4443").app  # all that a site can have
    assert unaccounted(app) == []
    served = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert served >= ELSEWHERE.keys() | PROBES.keys() | LISTS.keys()  # and no reason outlives its route


def answer(**_variables: Any) -> Response:
    """A view that forgot to ask."""
    return Response("content")


def test_a_route_that_nobody_thought_about_is_found(tmp_path: Path) -> None:
    app = World(tmp_path).app
    app.add_url_rule("/v2/<repository:name>/exports/<digest>", "export", answer)
    assert unaccounted(app) == ["export"]
    expose(app, "GET", "/v2/<repository:name>/copies/<digest>", answer, content=GATED)
    assert unaccounted(app) == ["export", "GET /v2/<repository:name>/copies/<digest>"]
    app.url_map.add(Rule("/v2/<repository:name>/more", endpoint="GET /v2/"))
    assert "GET /v2/" in unaccounted(app)


def test_the_answer_of_a_gated_view_that_did_not_ask_is_thrown_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    expose(world.app, "GET", "/v2/<repository:name>/copies/<digest>", answer, content=GATED)
    for headers in (world.token(), world.token(APP, "*")):
        refused = world.get(f"{APP}/copies/sha256:{'0' * 64}", headers)
        assert refused.status_code == 500
        assert "content" not in refused.text
    assert "answers without having asked the gate" in caplog.text


@pytest.mark.parametrize("request_name", REQUESTS)
def test_no_way_of_asking_gets_unsigned_content(world: World, request_name: str) -> None:
    method, headers = REQUESTS[request_name]
    for template in (template for templates in PROBES.values() for template in templates):
        path, digest = paths(world, template)
        conditions = {name: value.format(digest=digest) for name, value in headers.items()}
        for away, judge, status in ((False, denial, 403), (True, doubt, 503)):
            world.source.away = away
            refused = world.request(method, path, {**world.token(), **conditions})
            world.source.away = False
            assert refused.status_code == status, (path, refused.text)
            if method == "HEAD":
                assert digest not in str(refused.headers)
            else:
                assert judge(refused)["reason"] == ("UNAVAILABLE" if away else "UNSIGNED")


@pytest.mark.parametrize("request_name", REQUESTS)
def test_no_way_of_asking_lists_unsigned_content(world: World, request_name: str) -> None:
    method, headers = REQUESTS[request_name]
    for template in LISTS.values():
        path, digest = paths(world, template)
        conditions = {name: value.format(digest=digest) for name, value in headers.items()}
        listed = world.request(method, path, {**world.token(), **conditions})
        assert listed.status_code == 200
        if method == "GET":
            assert listed.get_json(force=True)["manifests"] == []
        world.source.away = True
        assert world.request(method, path, {**world.token(), **conditions}).status_code == 503
        world.source.away = False


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_no_other_method_gives_content_to_a_consumer(world: World, method: str) -> None:
    for template in (template for templates in PROBES.values() for template in templates):
        path, _ = paths(world, template)
        refused = world.request(method, path)
        assert refused.status_code in (401, 405)
        assert "Docker-Content-Digest" not in refused.headers
