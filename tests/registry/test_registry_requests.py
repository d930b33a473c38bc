# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent to `/v2/`: an answer of the protocol, never an internal error (REGISTRY_API §5).

Requests are put together by chance from what means something and what does not: methods, paths, queries, headers and
bodies.  The paths lead to a repository with an image and an upload, so that a request gets beyond the first check.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from pushes import Headers, Image, Site, digest_of, image_manifest, index_manifest
from registry import errors
from registry.manifests import KINDS, OCI_IMAGE
from trust.errors import DeniedError, TrustError, UnauthorizedError, UnavailableError

APP = "library/app"
API = Path(__file__).parents[2] / "docs/reference/protocol/REGISTRY_API.md"


def codes() -> dict[str, set[int]]:
    """The closed list of error codes, from the page that lists them, each with its statuses."""
    text = API.read_text(encoding="utf-8")
    listed = "".join(re.findall(r"(?m)^\* R5\.[23] .*", text))
    found = re.findall(r"`([A-Z_]+)` ([0-9]{3}(?:/[0-9]{3})*)", listed)
    return {code: set(map(int, statuses.split("/"))) for code, statuses in found}


#: An error that the page gives another status in the row of an endpoint, or that RFC 9110 does.
ELSEWHERE = {
    errors.TooLargeError: 413,  # R2.26
    errors.TooManyTagsError: 414,  # R2.7b
    errors.SignedError: 409,  # R2.9
    errors.QueryInvalidError: 400,  # R2.4c
    errors.StorageFullError: 507,  # RFC 4918 §11.5; docker shows its status line alone
    errors.UploadBusyError: 409,  # the page has no word for two writers
}


def test_each_error_has_a_code_of_the_list_and_its_status() -> None:
    """R5.2, R5.3."""
    listed = codes()
    assert len(listed) == 20
    own = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
    assert len(own) > 15
    for each in (*own, UnauthorizedError, DeniedError, UnavailableError, TrustError):
        assert issubclass(each, TrustError)
        assert each.code in listed, each
        assert each.status in listed[each.code] | {ELSEWHERE.get(each)}, each


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A registry that enforces nothing, so that what is asked for is also served."""
    return Site(tmp_path_factory.mktemp("site"), trust_mode="disabled", max_blob_bytes=5000, max_manifest_bytes=5000)


@pytest.fixture(scope="module")
def image(site: Site) -> Image:
    """What is in the repository at first."""
    return site.push_image(APP, "1")


IMAGE = image_manifest(b"{}", [b"layer"])
UPLOAD, ITS_DIGEST = "<an upload>", "<its digest>"  # stand for one that is there, and for the body's


def mostly(usual: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What means something, and now and then what does not."""
    return st.sampled_from([usual] * 5 + [odd]).flatmap(lambda each: each)


_latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=20)
_odd = st.binary(max_size=12).map(quote) | st.sampled_from(["..", "", "%2F", "%00", "%ff", "a" * 300, ":"])
_bad_digests = st.sampled_from(["sha256:" + "A" * 64, "sha256:", "md5:" + "0" * 32, "sha512:" + "0" * 64, "a:b"])
_digests = mostly(st.sampled_from([ITS_DIGEST, digest_of(b"layer of seed"), digest_of(b"x", "sha512")]), _bad_digests)
_names = mostly(st.sampled_from([APP, APP, APP, "other/app"]), st.sampled_from(["UPPER", "a//b"]) | _odd)
_references = mostly(st.sampled_from(["1", "2", "a" * 128, "a" * 129]) | _digests, _odd)
_uploads = mostly(st.just(UPLOAD), st.just("00000000-0000-4000-8000-000000000000") | _odd)
_rests = st.one_of(
    st.tuples(st.sampled_from(["GET", "HEAD", "PUT", "PUT", "DELETE"]), _references.map("manifests/{}".format)),
    st.tuples(st.sampled_from(["GET", "GET", "HEAD", "DELETE"]), _digests.map("blobs/{}".format)),
    st.tuples(st.just("POST"), st.just("blobs/uploads/")),
    st.tuples(st.sampled_from(["GET", "PATCH", "PUT", "DELETE"]), _uploads.map("blobs/uploads/{}".format)),
    st.tuples(st.just("GET"), _digests.map("referrers/{}".format) | st.just("tags/list")),
    st.tuples(
        st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]),
        _odd | st.sampled_from(["manifests/1", "tags", "blobs/uploads", "_trust/tuf/root.json", "_oci/ext/discover"]),
    ),
)
_targets = st.tuples(_names, _rests).map(lambda each: (each[1][0], f"/v2/{each[0]}/{each[1][1]}")) | st.sampled_from(
    [("GET", "/v2/"), ("GET", "/v2"), ("GET", "/v2/_catalog"), ("GET", "/"), ("PUT", "/v2/_catalog")]
)
_numbers = st.integers(-5, 50) | st.sampled_from([10**9 - 1, 10**9, 10**18 - 1, 10**18, 10**30])
_names_of_things = mostly(st.sampled_from([APP, "1", "", OCI_IMAGE, "sha512", "cascade"]), _latin)
_queries = st.fixed_dictionaries(
    {},
    optional={
        "digest": _digests,
        "mount": _digests,
        "from": _names,
        "n": mostly(_numbers.map(str), st.sampled_from(["\u0661", "1e3", "0x1", "", "1_0"])),
        "last": _names_of_things,
        "artifactType": _names_of_things,
        "digest-algorithm": _names_of_things,
        "trust": _names_of_things,
        "tag": _references,
        "ns": _latin,
    },
).map(urlencode) | _latin.map(quote)  # fmt: skip
_ranges = st.tuples(st.sampled_from(["bytes=", "bytes ", ""]), _numbers | st.just(""), _numbers | st.just("")).map(
    "{0[0]}{0[1]}-{0[2]}".format
)  # fmt: skip
_etags = mostly(_digests.map('"{}"'.format), st.sampled_from(["*", 'W/"x"', '"']) | _latin)
_headers = st.fixed_dictionaries(
    {"Content-Type": mostly(st.sampled_from([*KINDS]), st.sampled_from(["application/json", "multipart/form-data"]))},
    optional={
        "Range": mostly(_ranges, _latin),
        "Content-Range": mostly(_ranges, _latin),
        "If-None-Match": _etags,
        "If-Range": _etags,
        "Accept": _latin,
        "X-Request-Id": _latin,
        "X-Forwarded-Host": _latin,
        "Host": _latin,
        "Content-Encoding": st.sampled_from(["gzip", "x"]),
        "Expect": st.just("100-continue"),
    },
)
_bodies = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"layer of seed", IMAGE, index_manifest([]), index_manifest([IMAGE])]),
    st.sampled_from([b"[" * 4999, b'{"a":' * 999, b" " * 5001]),
    st.sampled_from([b"\xef\xbb\xbf" + IMAGE, IMAGE[:-1] + b',"layers":[]}']),
)


def ask(site: Site, target: tuple[str, str], query: str, headers: Headers, body: bytes, lie: int) -> TestResponse:
    """Send it; `lie` is added to the Content-Length."""
    method, path = target
    digest = digest_of(body)
    path, query = path.replace(ITS_DIGEST, digest), query.replace(quote_plus(ITS_DIGEST), digest)
    if UPLOAD in path:
        path = path.replace(UPLOAD, site.start(APP).headers["Docker-Upload-UUID"])
    # Nothing is deleted from the repository that the other requests are about.
    rights = site.token(f"repository:{APP}:pull,push", "repository:other/app:*", "registry:catalog:*")
    return site.client.open(
        path,
        method=method,
        query_string=query,
        data=body,
        headers={**headers, **rights, "Content-Length": str(max(0, len(body) + lie))},
        environ_overrides={"RAW_URI": f"{path}?{query}", "wsgi.input_terminated": True},
        buffered=True,
    )


def checked(answer: TestResponse, known: dict[str, set[int]]) -> None:
    """Whether this is an answer of the protocol."""
    assert answer.status_code < 500, answer.text
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert "text/html" not in answer.headers.get("Content-Type", "")
    for name, value in answer.headers:
        assert not re.search(r"[\x00-\x1f\x7f]", value), name
    if answer.request.method == "HEAD":
        assert answer.data == b""
    elif answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        body = json.loads(answer.data)
        assert body.keys() == {"errors"}
        for error in body["errors"]:
            assert error.keys() <= {"code", "message", "detail"}
            assert error["code"] in known, error
            assert error["message"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=250)
@given(_targets, _queries, _headers, _bodies, st.sampled_from([0, 0, 0, 7, -1]))
def test_any_request_is_answered_in_the_words_of_the_protocol(
    site: Site, image: Image, target: tuple[str, str], query: str, headers: dict[str, str], body: bytes, lie: int
) -> None:
    """R5.1, R5.2, R5.3."""
    checked(ask(site, target, query, headers, body, lie), codes())
