# SPDX-License-Identifier: Apache-2.0
"""Log lines in both forms: what is in them, what cannot be forged, and what never gets in."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notaryserver import NotaryServer
from signerprocess import SignerProcess
from trust.remotekeys import RemoteKeyStore
from trust.web import tracing
from trust.web.app import create_base_app
from trust.web.logs import JsonFormatter, TextFormatter
from world import APP, PASSWORD, World

GUN = "localhost:5000/library/app"
_LEVEL = logging.DEBUG


@contextmanager
def _logged(formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """What is logged meanwhile, as `formatter` writes it."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(_LEVEL)
    try:
        yield output
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def _requests(output: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in _lines(output) if line["logger"] == "troth.request"]


def test_a_request_is_one_json_object_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    with _logged(JsonFormatter("troth-server")) as output:
        headers = world.token(GUN, "pull", user="alice") | {"X-Request-Id": "r-1"}
        world.server.request("GET", f"/v2/{GUN}/_trust/tuf/timestamp.json?x=secret", headers=headers)
    (line,) = _requests(output)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("duration_ms") >= 0
    assert line.pop("message").startswith(f"troth-server GET /v2/{GUN}/_trust/tuf/timestamp.json -> 404 ")
    assert line == {
        "level": "INFO",
        "logger": "troth.request",
        "service": "troth-server",
        "request_id": "r-1",
        "method": "GET",
        "path": f"/v2/{GUN}/_trust/tuf/timestamp.json",
        "route": "/v2/<gun>/_trust/tuf/<role>.json",
        "status": 404,
        "client": "127.0.0.1",
        "subject": "alice",
        "gun": GUN,
    }


def test_every_line_of_a_request_has_its_id(tmp_path: Path) -> None:
    # In a context of its own: a test before may have left an answer open.
    Context().run(_every_line_has_its_id, tmp_path)


def _every_line_has_its_id(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.push_image(APP, "1")
    with _logged(JsonFormatter("troth-registry")) as output:
        assert world.manifest(APP, "1", X_Request_Id="r-2").status_code == 403
        logging.getLogger("troth.else").info("outside of a request")
    own = [line for line in _lines(output) if line["logger"] in ("troth.enforce", "troth.request")]
    refusal, request = (line for line in own if "/_trust/" not in line["message"])
    assert refusal["logger"] == "troth.enforce"
    assert refusal["request_id"] == request["request_id"] == "r-2"
    assert (request["repository"], request["subject"]) == (APP, "carol")
    assert "request_id" not in _lines(output)[-1]
    with _logged(TextFormatter()) as output:
        assert world.manifest(APP, "1", X_Request_Id="r-3").status_code == 403
    (line,) = (line for line in output.getvalue().splitlines() if " troth.enforce " in line)
    assert line.endswith(" id=r-3")


@given(st.text(st.characters(), min_size=1, max_size=30))
def test_no_text_can_forge_a_line(text: str) -> None:
    record = logging.LogRecord("troth", logging.INFO, "", 0, "before %s after", (text,), None)
    assert len(JsonFormatter("x").format(record).splitlines()) == 1
    assert json.loads(JsonFormatter("x").format(record))["message"].startswith("before ")
    line = TextFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert line.isprintable()


@pytest.mark.parametrize("forged", ["\n2026-11-26 08:00:00,000 INFO troth forged", '\r\n{"level": "INFO"}'])
def test_a_traceback_cannot_forge_a_line(forged: str) -> None:
    app = create_base_app("test")

    @app.get("/<path:text>")
    def _fail(text: str) -> str:
        raise RuntimeError(forged)

    with _logged(TextFormatter()) as output:
        app.test_client().get("/x")
    traceback = [line for line in output.getvalue().splitlines() if "forged" in line or '"level"' in line]
    assert traceback
    assert all(line.startswith("    ") for line in traceback)
    with _logged(JsonFormatter("test")) as output:
        app.test_client().get("/x")
    assert [line["level"] for line in _lines(output)] == ["ERROR", "INFO"]
    assert "RuntimeError" in _lines(output)[0]["exception"]


@pytest.mark.parametrize("given_id", ["a b", 'x"y', "x" * 65, "a;b", ""])
def test_an_id_that_is_none_is_replaced(given_id: str) -> None:
    with _logged(JsonFormatter("test")) as output:
        answer = create_base_app("test").test_client().get("/x", headers={"X-Request-Id": given_id})
    (line,) = _lines(output)
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_neither_passwords_nor_tokens_get_into_the_log(tmp_path: Path, form: str) -> None:
    world = World(tmp_path)
    world.add_user("alice", is_admin=True)
    with _logged(TextFormatter() if form == "text" else JsonFormatter("x")) as output:
        headers = world.login("alice", f"repository:{APP}:pull,push")
        world.get(f"{APP}/manifests/1", headers)
        world.get(f"{APP}/manifests/1", {"Authorization": headers["Authorization"] + "x"})
        client = world.app.test_client(use_cookies=False)
        query = {"service": "troth", "scope": f"repository:{APP}:pull"}
        assert client.get("/auth/token", query_string=query, auth=("alice", "mistyped!")).status_code == 401
    text = output.getvalue()
    assert "/auth/token" in text
    assert "alice" in text
    for secret in (PASSWORD, "mistyped!", headers["Authorization"].partition(" ")[2].rpartition(".")[2]):
        assert secret not in text


def test_the_id_of_a_publish_is_in_the_signers_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        watched = f"127.0.0.1:{probe.getsockname()[1]}"
    more = {"TROTH_SIGNER_LOG_FORMAT": "json", "TROTH_SIGNER_METRICS_LISTEN": watched}
    with SignerProcess(tmp_path).started_with(more) as signer:
        certificate, key = signer.client
        keys = RemoteKeyStore(signer.url, signer.tls.ca, certificate, key, headers=tracing.sent_on)
        server = NotaryServer(tmp_path, keys=keys)
        server.headers = {"X-Request-Id": "publish-1"}
        server.published(GUN)
        server.close()
        keys.close()
        with urllib.request.urlopen(f"http://{watched}/metrics", timeout=10) as answer:  # and shows no certificate
            text = answer.read().decode()
    for role in ("timestamp", "snapshot"):
        assert f'troth_signatures_total{{role="{role}"}} 1.0' in text
    # All that the process wrote: every line is an object.
    lines = [json.loads(line) for line in signer.log.read_text().splitlines()]
    signed = [line for line in lines if line.get("route") == "/v1/sign"]
    assert [line["request_id"] for line in signed] == ["publish-1"] * 2
    assert {(line["service"], line["subject"], line["gun"]) for line in signed} == {
        ("troth-signer", "notary-server", GUN)
    }
    told = [line for line in lines if line["logger"] == "troth.signer" and "signs for" in line["message"]]
    assert [line["request_id"] for line in told] == ["publish-1"] * 2


def test_why_a_service_cannot_start_is_json_too(tmp_path: Path) -> None:
    settings = tmp_path / "server.toml"
    settings.write_text(f'database_url = "sqlite:///{tmp_path}/none/server.db"\nlog_format = "json"\n')
    command = [sys.executable, "-m", "server.app", "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["level"], line["service"]) == ("CRITICAL", "troth-server")
    assert line["message"].startswith("troth-server: ")


def test_requests_that_end_in_another_order_than_they_began_leave_nothing_behind() -> None:
    """As when an answer is still being sent while another is made."""
    before = tracing.current()
    first, second = tracing.enter("troth-registry", "r-1"), tracing.enter("troth-server", "r-2")
    tracing.leave(first)
    assert tracing.current() is second
    tracing.leave(second)
    assert tracing.current() is before
