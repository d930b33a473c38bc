# SPDX-License-Identifier: Apache-2.0
"""Images of pseudo-random bytes: the same seed gives the same image, so digests can be compared.

`write_image` writes what `docker load` reads, `write_layout` an OCI layout for skopeo.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True)
class Manifest:
    """What a signature names: the digest and the length of a manifest."""

    digest: str
    size: int


def write_image(path: Path, name: str, size: int, seed: str) -> Path:
    """Write a `docker load`-able image called `name` with one layer of `size` bytes."""
    layer, config = _parts(size, seed)
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    listing = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as image:
        _add(image, config_name, config)
        _add(image, "layer.tar", layer)
        _add(image, "manifest.json", json.dumps(listing).encode())
    return path


def write_layout(folder: Path, size: int, seed: str) -> Manifest:
    """Write an OCI layout with one image, tagged `1`, of one layer of `size` bytes."""
    layer, config = _parts(size, seed)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, data: bytes) -> dict[str, object]:
        encoded = hashlib.sha256(data).hexdigest()
        (blobs / encoded).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{encoded}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", config),
        "layers": [blob("layer.v1.tar", layer)],
    }
    data = json.dumps(manifest).encode()
    entry = blob("manifest.v1+json", data) | {"annotations": {"org.opencontainers.image.ref.name": "1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return Manifest(str(entry["digest"]), len(data))


def _parts(size: int, seed: str) -> tuple[bytes, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, "data.bin", random.Random(seed).randbytes(size))
    data = buffer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {"Cmd": ["/x"], "Labels": {"seed": seed}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        "history": [{"created": CREATED}],
    }
    return data, json.dumps(config).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
