# SPDX-License-Identifier: Apache-2.0
"""Deleting, mounting and referrers over HTTP (REGISTRY_API §2, rows 9–12)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

from pushes import CONFIG_TYPE, Site, code_of, descriptor, digest_of, image_manifest, index_manifest
from registry.manifests import OCI_IMAGE, OCI_INDEX
from registry.views.referrers import MAX_BYTES

APP = "library/app"
DATA = bytes(range(256)) * 12
ALGORITHMS = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A registry that enforces nothing."""
    return Site(tmp_path, trust_mode="disabled")


def test_deleting_a_tag_leaves_the_manifest_and_other_tags(site: Site) -> None:
    """R2.9."""
    image = site.push_image(APP, "1", "2")
    assert site.send("DELETE", f"/v2/{APP}/manifests/1").status_code == 202
    assert code_of(site.get(f"/v2/{APP}/manifests/1", site.pull(APP))) == "MANIFEST_UNKNOWN"
    for reference in ("2", image.digest):
        assert site.get(f"/v2/{APP}/manifests/{reference}", site.pull(APP)).status_code == 200
    assert code_of(site.send("DELETE", f"/v2/{APP}/manifests/1")) == "MANIFEST_UNKNOWN"


def test_deleting_a_manifest_deletes_its_tags(site: Site) -> None:
    """R2.9."""
    image = site.push_image(APP, "1", "2")
    assert site.send("DELETE", f"/v2/{APP}/manifests/{image.digest}").status_code == 202
    for reference in ("1", "2", image.digest):
        assert site.get(f"/v2/{APP}/manifests/{reference}", site.pull(APP)).status_code == 404
    assert site.get(f"/v2/{APP}/tags/list", site.pull(APP)).json == {"name": APP, "tags": []}
    assert site.send("DELETE", f"/v2/{APP}/manifests/{image.digest}").status_code == 404


def test_a_blob_can_be_deleted_once_no_manifest_names_it(site: Site) -> None:
    """R2.10."""
    image = site.push_image(APP, "1")
    path = f"/v2/{APP}/blobs/{digest_of(image.layers[0])}"
    answer = site.send("DELETE", path)
    assert (answer.status_code, code_of(answer)) == (405, "UNSUPPORTED")
    site.send("DELETE", f"/v2/{APP}/manifests/{image.digest}")
    assert site.send("DELETE", path).status_code == 202
    assert site.head(path, site.pull(APP)).status_code == 404
    assert code_of(site.send("DELETE", path)) == "BLOB_UNKNOWN"


def test_deleting_in_an_unknown_repository_is_404(site: Site) -> None:
    """R2.9, R2.10."""
    for path in ("manifests/1", f"manifests/{digest_of(b'x')}", f"blobs/{digest_of(b'x')}"):
        assert site.send("DELETE", f"/v2/no/such/{path}", headers=site.push("no/such")).status_code == 404


def mount(site: Site, query: str, *rights: str) -> TestResponse:
    """POST a mount into the repository, with a token for `rights`."""
    scopes = [f"repository:{APP}:pull,push", *rights]
    return site.client.post(f"/v2/{APP}/blobs/uploads/?{query}", headers=site.token(*scopes))


@ALGORITHMS
@pytest.mark.parametrize("source", ["&from=library/base", ""])
def test_a_blob_is_mounted_from_where_the_caller_may_pull(site: Site, source: str, algorithm: str) -> None:
    """R2.11."""
    digest = site.push_blob("library/base", DATA, algorithm)
    answer = mount(site, f"mount={digest}{source}", "repository:library/base:pull")
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest)
    assert site.get(answer.headers["Location"], site.pull(APP)).data == DATA


@pytest.mark.parametrize("source", ["&from=library/base", ""])
def test_a_mount_without_the_right_to_pull_is_an_upload_that_tells_nothing(site: Site, source: str) -> None:
    """R2.11."""
    digest = site.push_blob("library/base", DATA)
    refused = mount(site, f"mount={digest}{source}")
    unknown = mount(site, f"mount={digest_of(b'unknown')}{source}")
    for answer in (refused, unknown):
        assert (answer.status_code, answer.headers["Range"], answer.data) == (202, "0-0", b"")
    assert set(refused.headers.keys()) == set(unknown.headers.keys())
    assert site.head(f"/v2/{APP}/blobs/{digest}", site.pull(APP)).status_code == 404
    put = site.send("PUT", f"{refused.headers['Location']}?digest={digest}", DATA)
    assert put.status_code == 201


def test_a_mount_of_nonsense_is_400(site: Site) -> None:
    assert code_of(mount(site, "mount=x")) == "DIGEST_INVALID"
    assert code_of(mount(site, f"mount={digest_of(DATA)}&from=../x")) == "NAME_INVALID"


def test_referrers_are_listed_as_an_index(site: Site) -> None:
    """R2.7a, R2.12, R2.23."""
    image = site.push_image(APP)
    subject = descriptor(image.manifest, OCI_IMAGE)
    signature = image_manifest(
        image.config, [], artifactType="application/x.sig", subject=subject, annotations={"k": "v"}
    )
    by_config = image_manifest(image.config, [], subject=subject)
    index = index_manifest([], subject=subject)
    for data in (signature, by_config, index):
        assert site.put_manifest(APP, digest_of(data), data).headers["OCI-Subject"] == image.digest
    answer = site.get(f"/v2/{APP}/referrers/{image.digest}", site.pull(APP))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    body = json.loads(answer.data)
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    assert sorted(body["manifests"], key=lambda entry: str(entry["digest"])) == sorted(
        [
            descriptor(signature, OCI_IMAGE, artifactType="application/x.sig", annotations={"k": "v"}),
            descriptor(by_config, OCI_IMAGE, artifactType=CONFIG_TYPE),
            descriptor(index, OCI_INDEX),
        ],
        key=lambda entry: str(entry["digest"]),
    )
    filtered = site.get(f"/v2/{APP}/referrers/{image.digest}?artifactType=application%2Fx.sig", site.pull(APP))
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in json.loads(filtered.data)["manifests"]] == [digest_of(signature)]
    site.send("DELETE", f"/v2/{APP}/manifests/{digest_of(signature)}")
    answer = site.get(f"/v2/{APP}/referrers/{image.digest}", site.pull(APP))
    assert digest_of(signature) not in answer.text


def test_a_referrer_may_come_before_its_subject(site: Site) -> None:
    """R2.24."""
    site.push_blob(APP, b"{}")
    data = image_manifest(b"{}", [], subject=descriptor(b"later", OCI_IMAGE))
    assert site.put_manifest(APP, digest_of(data), data).status_code == 201
    answer = site.get(f"/v2/{APP}/referrers/{digest_of(b'later')}", site.pull(APP))
    assert [entry["digest"] for entry in json.loads(answer.data)["manifests"]] == [digest_of(data)]


def test_no_referrers_are_an_empty_index_and_never_404(site: Site) -> None:
    """R2.12."""
    site.push_image(APP)
    for repository in (APP, "no/such"):
        answer = site.get(f"/v2/{repository}/referrers/{digest_of(b'x')}", site.pull(repository))
        assert (answer.status_code, json.loads(answer.data)["manifests"]) == (200, [])
    assert code_of(site.get(f"/v2/{APP}/referrers/sha256:bad", site.pull(APP))) == "DIGEST_INVALID"
    for query in ("artifactType=%00", "last=%C3%A9"):
        assert site.get(f"/v2/{APP}/referrers/{digest_of(b'x')}?{query}", site.pull(APP)).status_code == 400


def test_many_referrers_come_in_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2.12."""
    site.push_blob(APP, b"{}")
    subject = descriptor(b"subject", OCI_IMAGE)
    pushed = set()
    for number in range(7):
        data = image_manifest(b"{}", [], subject=subject, annotations={"number": str(number)})
        site.put_manifest(APP, digest_of(data), data)
        pushed.add(digest_of(data))
    for name, limit in (("MAX_ENTRIES", 3), ("MAX_BYTES", 700), ("MAX_READ", 1500)):
        with monkeypatch.context() as patched:
            patched.setattr(f"registry.views.referrers.{name}", limit)
            path, seen, pages = (
                f"/v2/{APP}/referrers/{digest_of(b'subject')}?artifactType={quote(CONFIG_TYPE)}",
                [],
                0,
            )
            while path:
                answer = site.get(path, site.pull(APP))
                seen += [entry["digest"] for entry in json.loads(answer.data)["manifests"]]
                link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
                path, pages = link[1] if link else "", pages + 1
        assert (len(seen), set(seen)) == (7, pushed)
        assert pages > 2


def test_a_referrer_with_more_annotations_than_a_page_holds_is_listed_without_them(site: Site) -> None:
    site.push_blob(APP, b"{}")
    subject = descriptor(b"subject", OCI_IMAGE)
    for size, is_told in ((2**20, True), (MAX_BYTES, False)):
        data = image_manifest(b"{}", [], subject=subject, annotations={"note": "x" * size})
        assert site.put_manifest(APP, digest_of(data), data).status_code == 201
        answer = site.get(f"/v2/{APP}/referrers/{digest_of(b'subject')}", site.pull(APP))
        (entry,) = [each for each in json.loads(answer.data)["manifests"] if each["digest"] == digest_of(data)]
        assert ("annotations" in entry) == is_told
        assert len(answer.data) < 4 << 20
