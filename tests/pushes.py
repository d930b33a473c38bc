# SPDX-License-Identifier: Apache-2.0
"""A registry in this process, and what clients push to it.

    site = Site(tmp_path, trust_mode="disabled")
    image = site.push_image("library/app", "1")
    site.get(f"/v2/library/app/manifests/{image.digest}", site.pull("library/app"))

`pull`, `push` and `token` give the headers of a caller with those rights; the tokens are real.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from registry.app import create_app
from registry.manifests import OCI_IMAGE, OCI_INDEX
from registry.settings import Settings
from trust.ca import self_signed
from trust.names import Digest
from trust.tokens import Issuer, parse_scopes

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

Headers = Mapping[str, str]


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of `data`."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def descriptor(data: bytes, media_type: str, *, algorithm: str = "sha256", **more: object) -> dict[str, object]:
    """What a manifest says of `data`."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more}


def image_manifest(
    config: bytes, layers: Iterable[bytes], *, media_type: str = OCI_IMAGE, algorithm: str = "sha256", **more: object
) -> bytes:
    """An image manifest."""
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(config, CONFIG_TYPE, algorithm=algorithm),
        "layers": [descriptor(layer, LAYER_TYPE, algorithm=algorithm) for layer in layers],
        **more,
    }
    return json.dumps(body).encode()


def index_of(children: Iterable[object], *, media_type: str = OCI_INDEX, **more: object) -> bytes:
    """An index of anything, by descriptors."""
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(children), **more}
    return json.dumps(body).encode()


def index_manifest(manifests: Iterable[bytes], *, media_type: str = OCI_INDEX, **more: object) -> bytes:
    """An index of manifests."""
    children = [descriptor(each, json.loads(each)["mediaType"]) for each in manifests]
    return index_of(children, media_type=media_type, **more)


@dataclass(frozen=True)
class Image:
    """An image that was pushed."""

    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> Digest:
        """The manifest's."""
        return digest_of(self.manifest)


class Site:
    """A registry with tokens, made in `folder`.

    Args:
        folder: empty.
        settings: those that differ from the defaults.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        now = datetime.now(UTC)
        pair = self_signed("token", now)
        certificate = folder / "token.crt"
        certificate.write_bytes(pair.certificate_pem)
        self.issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", "troth")
        settings.setdefault("database_url", f"sqlite:///{folder}/registry.db")
        self.settings = Settings(
            content_folder=folder / "content",
            **({"token_certificate": certificate} | settings),
        )
        self.app = create_app(self.settings)
        self.client = self.app.test_client()

    def token(self, *scopes: str, subject: str = "alice") -> Headers:
        """Headers of somebody with these scopes."""
        token = self.issuer.issue(subject, parse_scopes(scopes), datetime.now(UTC))
        return {"Authorization": f"Bearer {token}"}

    def pull(self, *repositories: str) -> Headers:
        """Headers of somebody who may pull."""
        return self.token(*(f"repository:{each}:pull" for each in repositories))

    def push(self, *repositories: str) -> Headers:
        """Headers of somebody who may pull, push and delete."""
        return self.token(*(f"repository:{each}:delete,pull,push" for each in repositories))

    def get(self, path: str, headers: Headers | None = None, **more: str) -> TestResponse:
        """GET `path`; `more` are headers, with underscores for dashes."""
        return self.client.get(path, headers={**(headers or {}), **_dashed(more)}, buffered=True)

    def head(self, path: str, headers: Headers | None = None, **more: str) -> TestResponse:
        """HEAD `path`."""
        return self.client.head(path, headers={**(headers or {}), **_dashed(more)}, buffered=True)

    def send(
        self, method: str, path: str, data: bytes = b"", headers: Headers | None = None, **more: str
    ) -> TestResponse:
        """Any request; without `headers`, of somebody who may do everything in the repository."""
        repository = re.sub(r"/(?:blobs|manifests|tags|referrers)/.*", "", path.removeprefix("/v2/"))
        rights = self.push(repository) if headers is None else headers
        return self.client.open(path, method=method, data=data, headers={**rights, **_dashed(more)}, buffered=True)

    def start(self, repository: str, query: str = "") -> TestResponse:
        """Begin an upload."""
        return self.client.post(f"/v2/{repository}/blobs/uploads/{query}", headers=self.push(repository))

    def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> Digest:
        """Push a blob in one PUT."""
        digest = digest_of(data, algorithm)
        location = self.start(repository).headers["Location"]
        answer = self.client.put(f"{location}?digest={digest}", data=data, headers=self.push(repository))
        assert answer.status_code == 201, answer.text
        return digest

    def put_manifest(
        self, repository: str, reference: str, manifest: bytes, content_type: str | None = None
    ) -> TestResponse:
        """PUT a manifest."""
        return self.client.put(
            f"/v2/{repository}/manifests/{reference}",
            data=manifest,
            headers=self.push(repository),
            content_type=content_type or json.loads(manifest)["mediaType"],
        )

    def push_image(self, repository: str, *tags: str, seed: str = "seed", **more: object) -> Image:
        """Push an image of one layer under `tags`, or by its digest if there are none."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "seed": seed}).encode()
        layer = f"layer of {seed}".encode()
        image = Image(config, (layer,), image_manifest(config, [layer], **more))  # type: ignore[arg-type]
        for data in (config, layer):
            self.push_blob(repository, data)
        for reference in tags or (image.digest,):
            answer = self.put_manifest(repository, reference, image.manifest)
            assert answer.status_code == 201, answer.text
        return image


def code_of(answer: TestResponse) -> str:
    """The code in an error's envelope."""
    assert answer.is_json, answer.text
    (error,) = answer.json["errors"]  # type: ignore[index]
    assert error["message"]
    return str(error["code"])


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
