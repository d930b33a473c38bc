# SPDX-License-Identifier: Apache-2.0
"""A registry whose content is in an object store."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from objectstores import PASSWORD, SECRET, TEMP_URL_KEY, Bucket, Container, Store, s3, swift
from registry.errors import StorageError
from registry.settings import Settings
from registry.storage.homes import open_storage
from trust.errors import SettingsError
from world import APP, World


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """An S3 server."""
    with s3() as running:
        yield running


@pytest.fixture(scope="module", params=["s3", "swift"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A server of each kind that can sign addresses."""
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
        return
    with swift(tmp_path_factory.mktemp("swift")) as running:
        yield running


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The file that nobody else reads."""
    return write_secrets(tmp_path, {"secret_access_key": SECRET})


def write_secrets(folder: Path, secrets: Mapping[str, str]) -> Path:
    path = folder / "secrets"
    path.write_text("# of the store\n" + "".join(f"{name} = {value}\n" for name, value in secrets.items()))
    path.chmod(0o600)
    return path


def site(store: Store, folder: Path, **settings: Any) -> World:
    secrets = write_secrets(folder, store.secrets)
    return World(folder, **store.settings(folder.name), storage_secrets=secrets, **settings)


def given(**settings: Any) -> Settings:
    return Settings(database_url="sqlite://", **settings)


def test_what_is_signed_is_fetched_from_the_store_itself(store: Store, tmp_path: Path) -> None:
    """R2.2."""
    world = site(store, tmp_path)
    image = world.push_image(APP, "1")
    _, layer = world.blobs(image)
    world.publish(APP, {"1": image})
    answer = world.blob(APP, layer)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (307, layer)
    assert "Content-Type" not in answer.headers  # there is no body
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.data == b""
    with urllib.request.urlopen(answer.headers["Location"]) as fetched:
        assert fetched.read() == b"layer of seed"
    forged = answer.headers["Location"].replace(layer.encoded, world.blobs(image)[0].encoded)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(forged)
    head = world.head(f"{APP}/blobs/{layer}")
    assert (head.status_code, head.content_length) == (200, len("layer of seed"))


def test_nobody_is_sent_to_what_is_not_signed(bucket: Bucket, tmp_path: Path) -> None:
    world = site(bucket, tmp_path)
    signed, unsigned = world.push_image(APP, "1"), world.push_image(APP, "2", seed="other")
    world.publish(APP, {"1": signed})
    answer = world.blob(APP, world.blobs(unsigned)[1])
    assert answer.status_code == 403
    assert "Location" not in answer.headers


@pytest.mark.parametrize(("wanted", "status", "data"), [("", 200, b"layer of seed"), ("bytes=6-7", 206, b"of")])
def test_a_client_that_cannot_reach_the_store_is_served_through_the_registry(
    store: Store, tmp_path: Path, wanted: str, status: int, data: bytes
) -> None:
    world = site(store, tmp_path, storage_redirect=False)
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    answer = world.blob(APP, world.blobs(image)[1], **({"Range": wanted} if wanted else {}))
    assert (answer.status_code, answer.data) == (status, data)


def test_another_registry_process_finds_the_content(store: Store, tmp_path: Path) -> None:
    world = site(store, tmp_path, storage_redirect=False)
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    world.restart()
    assert world.blob(APP, world.blobs(image)[0]).status_code == 200


@pytest.mark.parametrize("away", [Bucket("http://127.0.0.1:1"), Container("http://127.0.0.1:1")], ids=["s3", "swift"])
def test_a_store_that_is_away_is_said_to_be_and_its_secrets_are_not(
    away: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = site(away, tmp_path)
    with caplog.at_level(logging.DEBUG):
        answer = world.request("POST", f"{APP}/blobs/uploads/", world.token(actions="pull,push"))
    assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
    assert "127.0.0.1:1" not in answer.text
    assert any("storage failed" in record.message for record in caplog.records)
    assert not any(secret in caplog.text + answer.text for secret in away.secrets.values())


def test_a_password_that_the_store_refuses_is_its_failure_and_is_said_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with swift(tmp_path) as container, caplog.at_level(logging.DEBUG):
        secrets = write_secrets(tmp_path, {"password": f"not {PASSWORD}"})
        storage = open_storage(given(**container.settings("x"), storage_secrets=secrets))
        with pytest.raises(StorageError):
            storage.size("0" * 64)
        secrets = write_secrets(tmp_path, container.secrets)
        storage = open_storage(given(**container.settings("x"), storage_secrets=secrets))
        assert storage.size("0" * 64) is None
    assert PASSWORD not in caplog.text
    assert TEMP_URL_KEY not in caplog.text


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "one of content_folder and storage_url"),
        ({"content_folder": Path("x"), "storage_url": "s3://b"}, "one of content_folder and storage_url"),
        ({"storage_url": "ftp://b"}, "must begin with"),
        ({"storage_url": "s3://b", "storage_options": ("nonsense=1",)}, "nonsense"),
        ({"storage_url": "s3://b", "storage_options": ("region",)}, "entry 1 must be name=value"),
        ({"storage_url": "s3://b", "storage_secrets": Path("/nowhere")}, "cannot read the secrets"),
        ({"storage_url": "swift://b/a b"}, "swift://container/prefix"),
        ({"storage_url": "swift://b", "storage_options": ("auth_type=magic",)}, "magic"),
        ({"storage_url": "swift://b", "storage_options": ("nonsense=1",)}, "nonsense"),
        ({"storage_url": "swift://b"}, "auth_url"),
        ({"storage_url": "swift://b", "storage_options": ("auth_url=https://k/v3",)}, "password"),
        (
            {"storage_url": "swift://b", "storage_options": ("auth_url=http://k/v3", "password=x")},
            "https://, or allow_http",
        ),
        ({"storage_url": "s3://b", "storage_link_seconds": 0}, "storage_link_seconds must be at least 1"),
    ],
)
def test_settings_that_mean_no_store_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        open_storage(given(**settings))


def test_secrets_that_others_may_read_are_refused(secrets: Path) -> None:
    secrets.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        open_storage(given(storage_url="s3://b", storage_secrets=secrets))


def test_a_malformed_secret_is_not_repeated(secrets: Path) -> None:
    secrets.write_text(f"{SECRET}\n")
    with pytest.raises(SettingsError) as caught:
        open_storage(given(storage_url="s3://b", storage_secrets=secrets))
    assert SECRET not in str(caught.value)
