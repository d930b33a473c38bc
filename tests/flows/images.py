# SPDX-License-Identifier: Apache-2.0
"""Images of pseudo-random bytes: the same seed gives the same image, so digests can be compared.

`write_image` writes what `docker load` reads; `write_layout` an OCI layout for skopeo, and `write_index` one with an
index of images for several platforms.
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
#: Of an index's images.
ARCHITECTURES = ("amd64", "arm64")

_OCI = "application/vnd.oci.image"


@dataclass(frozen=True)
class Manifest:
    """What a signature names: the digest and the length of a manifest (or of another blob)."""

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
    manifest = _write_manifest(folder, size, seed, ARCHITECTURES[0])
    _name(folder, {"1": _descriptor("manifest", manifest)})
    return manifest


def write_index(folder: Path, size: int, seed: str) -> dict[str, Manifest]:
    """Write an OCI layout with one index, tagged `1`, and its images, tagged and returned by `ARCHITECTURES`."""
    images = {each: _write_manifest(folder, size, f"{seed} {each}", each) for each in ARCHITECTURES}
    index = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.index.v1+json",
        "manifests": [
            _descriptor("manifest", image) | {"platform": {"os": "linux", "architecture": architecture}}
            for architecture, image in images.items()
        ],
    }
    named = _write_blob(folder, json.dumps(index).encode())
    _name(
        folder, {"1": _descriptor("index", named)} | {each: _descriptor("manifest", images[each]) for each in images}
    )
    return images


def _write_manifest(folder: Path, size: int, seed: str, architecture: str) -> Manifest:
    layer, config = _parts(size, seed, architecture)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _descriptor("config", _write_blob(folder, config)),
        "layers": [_descriptor("layer", _write_blob(folder, layer))],
    }
    return _write_blob(folder, json.dumps(manifest).encode())


def _write_blob(folder: Path, data: bytes) -> Manifest:
    encoded = hashlib.sha256(data).hexdigest()
    path = folder / "blobs/sha256" / encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Manifest(f"sha256:{encoded}", len(data))


def _descriptor(kind: str, blob: Manifest) -> dict[str, object]:
    suffix = ".v1.tar" if kind == "layer" else ".v1+json"
    return {"mediaType": f"{_OCI}.{kind}{suffix}", "digest": blob.digest, "size": blob.size}


def _name(folder: Path, tags: dict[str, dict[str, object]]) -> None:
    entries = [entry | {"annotations": {"org.opencontainers.image.ref.name": tag}} for tag, entry in tags.items()]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _parts(size: int, seed: str, architecture: str = ARCHITECTURES[0]) -> tuple[bytes, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, "data.bin", random.Random(seed).randbytes(size))
    data = buffer.getvalue()
    config = {
        "architecture": architecture,
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
