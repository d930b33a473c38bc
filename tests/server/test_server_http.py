# SPDX-License-Identifier: Apache-2.0
"""Routes, headers, names and tokens of the notary server's HTTP API."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import update
from werkzeug.test import Client, TestResponse

from notaryserver import NOW, NotaryServer, error, multipart, tuf
from server.models import TufFileRow
from trust.ca import self_signed
from trust.errors import UnavailableError
from trust.keys import NotaryKey
from trust.keystore import MemoryKeyStore
from trust.names import Gun, RoleName
from trust.tokens import Issuer, parse_scopes
from trust.web.ahead import Ahead

GUN = "localhost:5000/library/app"
NOT_FOUND = (
    b'{"errors":[{"code":"METADATA_NOT_FOUND","message":"You have requested metadata that does not exist."}]}\n'
)
TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"


@pytest.fixture
def server(tmp_path: Path) -> NotaryServer:
    return NotaryServer(tmp_path)


def test_metadata_is_served_as_text_with_its_hash_as_etag(server: NotaryServer) -> None:
    # NOTARY_V1 §2, headers
    server.published(GUN)
    for file in ("root.json", "targets.json", "snapshot.json", "timestamp.json", "1.root.json"):
        response = server.get(GUN, file)
        assert response.headers["Content-Type"] == TEXT
        assert response.headers["ETag"] == f'"{hashlib.sha256(response.data).hexdigest()}"'
        assert response.headers["Last-Modified"] == "Tue, 24 Nov 2026 08:00:00 GMT"
        assert int(response.headers["Content-Length"]) == len(response.data)


def test_t29_current_files_may_be_cached_for_minutes_and_named_ones_for_a_month(server: NotaryServer) -> None:
    # NOTARY_V1 §2, headers
    server.published(GUN)
    digest = hashlib.sha256(server.get(GUN, "targets.json").data).hexdigest()
    for file in ("root.json", "timestamp.json", "targets.json"):
        expected = "public, max-age=300, s-maxage=300, must-revalidate"
        assert server.get(GUN, file).headers["Cache-Control"] == expected
    for file in ("1.root.json", f"targets.{digest}.json"):
        assert server.get(GUN, file).headers["Cache-Control"] == "public, max-age=2592000, s-maxage=2592000"
    assert "Cache-Control" not in server.get(GUN, "9.root.json").headers


def test_t29_an_age_of_zero_forbids_caching(tmp_path: Path) -> None:
    # NOTARY_V1 §2, headers
    server = NotaryServer(tmp_path, current_max_age=0, consistent_max_age=60)
    server.published(GUN)
    response = server.get(GUN, "root.json")
    assert response.headers["Cache-Control"] == "max-age=0, no-cache, no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert server.get(GUN, "1.root.json").headers["Cache-Control"] == "public, max-age=60, s-maxage=60"


def test_head_answers_as_get_does_without_the_body(server: NotaryServer) -> None:
    server.published(GUN)
    for file in ("root.json", "1.root.json", "9.root.json", "timestamp.json"):
        got, head = server.get(GUN, file), server.request("HEAD", tuf(GUN, file))
        assert head.status_code == got.status_code
        assert head.data == b""
        for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control", "Last-Modified"):
            assert head.headers.get(name) == got.headers.get(name)


def test_an_unchanged_file_is_not_sent_again(server: NotaryServer) -> None:
    collection = server.published(GUN)
    etag = server.get(GUN, "targets.json").headers["ETag"]
    for value in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = server.get(GUN, "targets.json", headers={"If-None-Match": value})
        assert (response.status_code, response.data) == (304, b"")
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"]
    collection.targets({"v2": b"x"})
    server.publish(collection, "targets")
    assert server.get(GUN, "targets.json", headers={"If-None-Match": etag}).status_code == 200
    assert server.get(GUN, "none.json", headers={"If-None-Match": "*"}).status_code == 404


def test_what_is_answered_ahead_of_the_app_is_what_the_app_answers(server: NotaryServer) -> None:
    collection = server.published(GUN)
    ahead = server.app.wsgi_app
    assert isinstance(ahead, Ahead)
    digest = hashlib.sha256(collection.files[RoleName("targets")]).hexdigest()
    files = ("timestamp.json", "root.json", "1.root.json", f"targets.{digest}.json", "2.root.json", "targets/no.json")
    for file, condition in product(files, ({}, {"If-None-Match": "*"}, {"If-None-Match": '"other"'})):
        path, headers = tuf(GUN, file), {"X-Request-Id": "one", **condition}
        short = Client(ahead, TestResponse).get(path, headers=headers)
        long = Client(ahead.behind, TestResponse).get(path, headers=headers)
        assert (short.status, sorted(short.headers), short.data) == (long.status, sorted(long.headers), long.data)
    assert short.headers["X-Request-Id"] == "one"


def test_a_successful_change_has_an_empty_answer(server: NotaryServer) -> None:
    # NOTARY_V1 §2.2, §2.4
    collection = server.published(GUN)
    collection.targets()
    for response in (server.publish(collection, "targets"), server.request("DELETE", tuf(GUN, ""))):
        assert (response.status_code, response.data) == (200, b"")
        assert "Content-Type" not in response.headers
        assert response.headers["Content-Length"] == "0"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/v2"), ("HEAD", "/v2/"), ("POST", "/v2/"), ("PUT", "/v2/"), ("DELETE", "/v2/"),
        ("GET", "/v3/"), ("GET", "/metrics"), ("POST", "/_notary_server/health"), ("HEAD", "/_notary_server/health"),
        ("PUT", f"/v2/{GUN}/_trust/tuf/"), ("GET", f"/v2/{GUN}/_trust/tuf/"), ("GET", f"/v2/{GUN}/_trust/tuf"),
        ("POST", f"/v2/{GUN}/_trust/tuf/root.json"), ("DELETE", f"/v2/{GUN}/_trust/tuf/root.json"),
        ("GET", f"/v2/{GUN}/_trust/tuf/targets.key"), ("HEAD", f"/v2/{GUN}/_trust/tuf/timestamp.key"),
        ("GET", f"/v2/{GUN}/_trust/tuf/bogus.json"), ("GET", f"/v2/{GUN}/_trust/tuf/root.{'0' * 40}.json"),
        ("GET", f"/v2/{GUN}/_trust/tuf/rooty.json"), ("GET", f"/v2/{GUN}/_trust/tuf/-1.root.json"),
        ("POST", f"/v2/{GUN}/_trust/changefeed"), ("GET", "/v2/_trust/tuf/root.json"), ("GET", f"/v2/{GUN}"),
    ],
)  # fmt: skip
def test_an_unknown_route_is_not_found_without_detail(server: NotaryServer, method: str, path: str) -> None:
    # NOTARY_V1 §2, route 13; §2.7
    server.published(GUN)
    response = server.request(method, path)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == JSON
    assert response.data == (b"" if method == "HEAD" else NOT_FOUND)


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/v2/", tuf(GUN, "root.json"), "/_notary_server/health", "/v2//x"])
def test_other_methods_get_405_and_nothing_else(server: NotaryServer, method: str, path: str) -> None:
    # NOTARY_V1 §2
    environ = {"REQUEST_METHOD": method}
    response = server.request("POST", path, environ_overrides=environ)
    assert (response.status_code, response.data) == (405, b"")


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("//v2//", "/v2/"),
        ("/v2//a/_trust/tuf/root.json", "/v2/a/_trust/tuf/root.json"),
        ("/v2/./a/_trust/tuf/root.json", "/v2/a/_trust/tuf/root.json"),
        ("/v2/a/_trust//tuf/", "/v2/a/_trust/tuf/"),
        ("//evil.example/%2e", "/evil.example"),
        ("/./", "/"),
        ("///", "/"),
        ("/v2/x\\y//z", "/v2/x%5Cy/z"),
        ("/v2/a\r\nX: y//b", "/v2/a%0D%0AX%3A%20y/b".replace("%3A", ":")),
    ],
)
def test_a_path_is_cleaned_by_a_redirect_to_the_same_host(server: NotaryServer, path: str, clean: str) -> None:
    # NOTARY_V1 §2
    raw = {"PATH_INFO": path.replace("%2e", "."), "QUERY_STRING": "records=1"}
    response = server.request("GET", "/", environ_overrides=raw)
    assert response.status_code == 301
    assert response.headers["Location"] == f"{clean}?records=1"


BAD_GUNS = ["a*b", "a/../b", "../a", "a/..", "a\0b", "a\nb", "a b\x7f", "x" * 256, "a/_trust/b", "_trust", "a "]


@pytest.mark.parametrize("gun", BAD_GUNS)
def test_t26_a_name_that_nothing_can_have_is_refused(server: NotaryServer, gun: str) -> None:
    path = f"/v2/{quote(gun)}/_trust/"
    status, code, detail = error(server.request("POST", path + "tuf/", data=multipart([])))
    assert (status, code) == (400, "INVALID_GUN")
    assert detail
    for method, rest in (
        ("GET", "tuf/root.json"), ("GET", "tuf/1.root.json"), ("GET", f"tuf/root.{'0' * 64}.json"),
        ("GET", "tuf/timestamp.key"), ("POST", "tuf/timestamp.key"), ("DELETE", "tuf/"),
        ("GET", "changefeed?records=1"),
    ):  # fmt: skip
        response = server.request(method, path + rest)
        assert (response.status_code, response.data) == (404, NOT_FOUND), rest


def test_t26_a_path_is_decoded_once(server: NotaryServer) -> None:
    collection = server.published("localhost:5000/library/app")
    encoded = "/v2/localhost%3A5000%2Flibrary%2Fapp/_trust%2Ftuf/root.json"
    assert server.request("GET", encoded).data == collection.files[RoleName("root")]
    twice = "/v2/localhost%253A5000%252Flibrary%252Fapp/_trust/tuf/root.json"
    assert error(server.request("GET", twice)) == (404, "METADATA_NOT_FOUND", {})
    # Dots that were encoded are dots.
    for dots in ("%2e%2e", "%2E.", ".."):
        assert (
            server.request("GET", f"/v2/x/{dots}/localhost:5000/library/app/_trust/tuf/root.json").status_code == 404
        )
    assert server.request("GET", f"/v2/{GUN}/_trust/tuf/targets/%2e%2e/root.json").status_code == 404


def test_t26_names_are_told_apart_by_case_and_to_the_last_character(server: NotaryServer) -> None:
    guns = ["reg/app", "reg/App", "reg/app2", "reg/ap", "reg/app/x", "app", "rég/app"]
    collections = {gun: server.published(gun) for gun in guns}
    for gun, collection in collections.items():
        for file in ("root.json", "1.root.json"):
            assert server.get(quote(gun), file).data == collection.files[RoleName("root")]
        digest = hashlib.sha256(collection.files[RoleName("targets")]).hexdigest()
        for other in guns:
            status = server.get(quote(other), f"targets.{digest}.json").status_code
            assert status == (200 if other == gun else 404)


def test_t26_only_collections_with_an_allowed_prefix_are_served(tmp_path: Path) -> None:
    # NOTARY_V1 §2, gun-prefix error; §2.7
    server = NotaryServer(tmp_path, gun_prefixes=("docker.io/", "reg.example.com/"))
    text = "Require GUNs with prefix: [docker.io/ reg.example.com/]"
    for gun in ("other/app", "docker.io", "docker.iox/app"):
        assert error(server.upload(gun, [])) == (400, "INVALID_GUN", text)
        assert server.get(gun, "timestamp.key").data == NOT_FOUND
        assert server.request("DELETE", tuf(gun, "")).data == NOT_FOUND
    server.published("docker.io/library/app")
    assert server.get("docker.io/library/app", "root.json").status_code == 200


def test_a_version_is_a_number_however_it_is_written(server: NotaryServer) -> None:
    # NOTARY_V1 §2, `<version>`; §2.1
    collection = server.published(GUN)
    for version in ("1", "01", "0001"):
        assert server.get(GUN, f"{version}.root.json").data == collection.files[RoleName("root")]
    for version in ("0", "2", "4294967297", "9" * 30, "1" + "0" * 5000):
        assert error(server.get(GUN, f"{version}.root.json")) == (404, "METADATA_NOT_FOUND", {})


def test_metadata_of_unknown_age_has_no_date(server: NotaryServer) -> None:
    # NOTARY_V1 §3.4: the times may be NULL in tables of the reference, which then says the year 1 (§2, headers).
    server.published(GUN)
    with server.database.write() as session:
        session.execute(update(TufFileRow).values(created_at=None, updated_at=None))
    for file in ("root.json", "1.root.json"):
        response = server.get(GUN, file)
        assert (response.status_code, "Last-Modified" in response.headers) == (200, False)
        assert response.headers["Cache-Control"].startswith("public, ")


def test_a_signer_that_is_away_gives_no_keys(tmp_path: Path) -> None:
    # NOTARY_V1 §2.3; the reference says 500 UNKNOWN
    server = NotaryServer(tmp_path, keys=Away())
    for method in ("GET", "POST"):
        for role in ("timestamp", "snapshot"):
            status, code, detail = error(server.request(method, tuf(GUN, f"{role}.key")))
            assert (status, code) == (503, "UNAVAILABLE")
            assert "10.0.0.1" not in str(detail)


# Changefeed (T25)


def feed(server: NotaryServer, query: str, gun: str = "") -> list[int]:
    response = server.request("GET", f"/v2/{gun + '/' if gun else ''}_trust/changefeed?{query}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == TEXT
    content = json.loads(response.data)
    assert content["count"] == len(content["records"])
    return [int(record["ID"]) for record in content["records"]]


def test_t25_the_changefeed_is_paged_in_both_directions(server: NotaryServer) -> None:
    # NOTARY_V1 §2.5
    one, two = server.published("reg/one"), server.published("reg/two")
    for _ in range(3):
        for collection in (one, two):
            collection.targets()
            server.publish(collection, "targets")
    assert feed(server, "records=3") == [1, 2, 3]
    assert feed(server, "records=3&change_id=3") == [4, 5, 6]
    assert feed(server, "records=3&change_id=7") == [8]
    assert feed(server, "records=3&change_id=99") == []
    assert feed(server, "records=0") == list(range(1, 9))
    assert feed(server, "records=-2&change_id=5") == [3, 4]
    assert feed(server, "records=-2") == [7, 8]
    assert feed(server, "records=2&change_id=-1") == [7, 8]
    assert feed(server, "records=100", "reg/one") == [1, 3, 5, 7]
    assert feed(server, "records=-1", "reg/two") == [8]
    assert feed(server, "records=5", "reg/on") == []


def test_t25_a_change_says_what_was_published_or_deleted(server: NotaryServer) -> None:
    # NOTARY_V1 §2.5
    server.published(GUN)
    sha256 = hashlib.sha256(server.get(GUN, "timestamp.json").data).hexdigest()
    server.request("DELETE", tuf(GUN, ""))
    same = f'"CreatedAt":"2026-11-24T08:00:00Z","GUN":"{GUN}"'
    published, deleted = (
        f'{{"ID":"1",{same},"Version":1,"SHA256":"{sha256}","Category":"update"}}',
        f'{{"ID":"2",{same},"Version":0,"SHA256":"","Category":"deletion"}}',
    )
    for path in (f"/v2/{GUN}/_trust", "/v2/_trust"):
        answer = server.request("GET", f"{path}/changefeed?records=9")
        assert answer.text == f'{{"count":2,"records":[{published},{deleted}]}}'
        assert server.request("GET", f"{path}/changefeed?records=9&change_id=2").text == '{"count":0,"records":[]}'


@pytest.mark.parametrize("value", ["", "abc", "1.5", "1e3", " 1", "0x1", "1_000", "--1", "%D9%A1"])
def test_t25_a_malformed_count_is_refused_in_the_words_of_the_reference(server: NotaryServer, value: str) -> None:
    # NOTARY_V1 §2.5
    status, code, detail = error(server.request("GET", f"/v2/_trust/changefeed?records={value}"))
    assert (status, code) == (400, "INVALID_PARAMETERS")
    assert str(detail).startswith('invalid records parameter: strconv.ParseInt: parsing "')
    assert str(detail).endswith('": invalid syntax')


@pytest.mark.parametrize("query", ["records=2147483648", "records=-99999999999", "records=" + "9" * 6000])
def test_t25_a_count_out_of_range_is_refused(server: NotaryServer, query: str) -> None:
    detail = error(server.request("GET", f"/v2/_trust/changefeed?{query}"))[2]
    assert str(detail).endswith("value out of range")


@pytest.mark.parametrize("value", ["abc", "1.5", "9" * 30, "-" + "9" * 30])
def test_t25_a_malformed_change_id_is_refused(server: NotaryServer, value: str) -> None:
    # NOTARY_V1 §2.5
    response = server.request("GET", f"/v2/_trust/changefeed?records=1&change_id={value}")
    assert error(response) == (400, "INVALID_PARAMETERS", {})


# Health


class Away(MemoryKeyStore):
    """A signer that does not answer, and counts who asks."""

    asked = 0

    def find(self, gun: Gun, role: RoleName, key_ids: object) -> list[NotaryKey]:
        self.asked += 1
        raise UnavailableError("connection refused by 10.0.0.1")

    def create(self, gun: Gun, role: RoleName, algorithm: str) -> NotaryKey:
        raise UnavailableError("connection refused by 10.0.0.1")


def test_health_names_each_hop_that_fails_and_tells_nothing_else(tmp_path: Path) -> None:
    # NOTARY_V1 §2.6
    keys = Away()
    server = NotaryServer(tmp_path, keys=keys)
    for _ in range(3):
        response = server.request("GET", "/_notary_server/health")
        assert response.status_code == 503
        assert response.headers["Content-Type"] == JSON
        assert json.loads(response.data) == {"Trust operational": "the signer does not answer"}
    assert keys.asked == 1


def test_health_is_empty_when_all_is_well(server: NotaryServer) -> None:
    # NOTARY_V1 §2.6
    response = server.request("GET", "/_notary_server/health")
    assert (response.status_code, response.data) == (200, b"{}")


def test_a_database_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    server = NotaryServer(folder)
    server.published(GUN)
    server.app = NotaryServer(folder).app  # no connection is open yet
    folder.rename(tmp_path / "elsewhere")
    for response in (server.get(GUN, "root.json"), server.upload(GUN, []), server.request("DELETE", tuf(GUN, ""))):
        assert error(response)[:2] == (503, "UNAVAILABLE")
    health = server.request("GET", "/_notary_server/health")
    assert json.loads(health.data) == {"DB operational": "the database does not answer"}


# Tokens


class Guarded(NotaryServer):
    """A server that wants tokens, and their issuer."""

    def __init__(self, folder: Path) -> None:
        pair = self_signed("tokens", NOW)
        (folder / "token.crt").write_bytes(pair.certificate_pem)
        self.issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", "troth")
        super().__init__(
            folder, token_certificate=folder / "token.crt", token_realm="https://localhost:5000/auth/token"
        )

    def allow(self, *scopes: str) -> None:
        """Hold a token with these scopes from now on."""
        token = self.issuer.issue("alice", parse_scopes(scopes), self.now)
        self.headers = {"Authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


CATALOG = "registry:catalog:*"
ROUTES = [
    ("POST", tuf(GUN, ""), f"repository:{GUN}:pull,push"),
    ("GET", tuf(GUN, f"root.{'0' * 64}.json"), f"repository:{GUN}:pull"),
    ("GET", tuf(GUN, "1.root.json"), f"repository:{GUN}:pull"),
    ("GET", tuf(GUN, "root.json"), f"repository:{GUN}:pull"),
    ("HEAD", tuf(GUN, "root.json"), f"repository:{GUN}:pull"),
    ("GET", tuf(GUN, "snapshot.key"), f"repository:{GUN}:pull,push"),
    ("GET", tuf(GUN, "timestamp.key"), f"repository:{GUN}:pull,push"),
    ("POST", tuf(GUN, "timestamp.key"), f"repository:{GUN}:*"),
    ("DELETE", tuf(GUN, ""), f"repository:{GUN}:*"),
    ("GET", f"/v2/{GUN}/_trust/changefeed?records=1", f"repository:{GUN}:pull"),
    ("GET", "/v2/", CATALOG),
    ("GET", "/v2/_trust/changefeed?records=1", CATALOG),
    ("GET", "/", CATALOG),
    ("PUT", tuf(GUN, ""), CATALOG),
    ("GET", tuf(GUN, "root.key"), CATALOG),
]


def _is_refused(response: TestResponse, scope: str, problem: str = "") -> bool:
    challenge = f'Bearer realm="https://localhost:5000/auth/token",service="troth",scope="{scope}"'
    if problem:
        challenge += f',error="{problem}"'
    return response.status_code == 401 and response.headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_asks_for_its_own_scope_and_takes_nothing_less(
    guarded: Guarded, method: str, path: str, scope: str
) -> None:
    # NOTARY_V1 §2, scope actions; §5.1
    assert _is_refused(guarded.request(method, path), scope)
    guarded.headers = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    assert _is_refused(guarded.request(method, path), scope)
    guarded.headers = {"Authorization": "Bearer nonsense"}
    assert _is_refused(guarded.request(method, path), scope, "invalid_token")
    name, _, actions = scope.rpartition(":")
    less = {"pull,push": "pull", "pull": "push", "*": "pull,push"}[actions]
    for lacking in (f"{name}:{less}", f"repository:{GUN}2:*", "repository:localhost:5000/library:*"):
        guarded.allow(lacking)
        response = guarded.request(method, path)
        assert _is_refused(response, scope, "insufficient_scope"), lacking
    guarded.allow(scope)
    assert guarded.request(method, path).status_code != 401


def test_a_refusal_lists_each_action_as_the_reference_does(guarded: Guarded) -> None:
    # NOTARY_V1 §5.1
    status, code, detail = error(guarded.request("POST", tuf(GUN, "")))
    assert (status, code) == (401, "UNAUTHORIZED")
    assert isinstance(detail, list)
    assert {"Type": "repository", "Class": "", "Name": GUN, "Action": "push"} in detail
    assert len(detail) == 2


def test_a_token_for_the_repository_is_one_for_its_collection(guarded: Guarded) -> None:
    guarded.allow("repository:library/app:pull,push")
    collection = guarded.published(GUN)
    assert guarded.get(collection, "root.json").status_code == 200
    assert guarded.get("elsewhere.example/library/app", "root.json").status_code == 401


def test_an_expired_token_is_refused(guarded: Guarded) -> None:
    # NOTARY_V1 §5.1
    guarded.allow(f"repository:{GUN}:pull")
    guarded.now += timedelta(minutes=10)
    assert _is_refused(guarded.get(GUN, "root.json"), f"repository:{GUN}:pull", "invalid_token")


def test_names_are_filtered_before_tokens_and_health_needs_none(tmp_path: Path) -> None:
    # NOTARY_V1 §5.1, order; §2, route 11
    guarded = Guarded(tmp_path)
    assert error(guarded.upload("a*b", []))[:2] == (400, "INVALID_GUN")
    assert guarded.get("a*b", "root.json").status_code == 404
    assert guarded.request("GET", "/_notary_server/health").status_code == 200


def test_t25_the_whole_changefeed_is_not_for_those_who_may_read_one_collection(guarded: Guarded) -> None:
    guarded.allow("repository:library/app:*")
    guarded.published(GUN)
    assert guarded.request("GET", "/v2/_trust/changefeed?records=9").status_code == 401
    assert guarded.request("GET", "/v2/localhost:5000/library/app2/_trust/changefeed?records=9").status_code == 401
    assert guarded.request("GET", f"/v2/{GUN}/_trust/changefeed?records=9").status_code == 200
