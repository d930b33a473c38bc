# SPDX-License-Identifier: Apache-2.0
"""`troth up` as a user meets it: ready, refused, stopped, killed."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.stack import Stack, alive, descendants


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A stack of one's own, to be stopped and killed."""
    stack = Stack(tmp_path)
    yield stack
    stack.stop()


def refusal(stack: Stack, *before: str) -> str:
    """Run `troth up`, which must refuse with exit status 1, and return what it said."""
    done = subprocess.run(
        [*before, *stack.command], env=stack.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Ready." not in done.stdout
    return done.stderr


def assert_one_sentence(text: str) -> None:
    assert text.startswith("troth: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text


def status(stack: Stack, address: str, path: str, *, client: bool = False) -> int:
    """The status of an answer over TLS that is verified with the stack's CA."""
    context = ssl.create_default_context(cafile=stack.ca)
    if client:
        context.load_cert_chain(stack.state / "tls/server-client.crt", stack.state / "tls/server-client.key")
    connection = http.client.HTTPSConnection(address, timeout=10, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_is_ready_and_prints_the_lines_to_paste(stack: Stack) -> None:
    assert status(stack, stack.registry, "/v2/") == 401
    assert status(stack, stack.server, "/_notary_server/health") == 200
    assert status(stack, stack.signer, "/health", client=True) == 200
    password = stack.state / "admin-password"
    assert f"docker login {stack.registry} --username admin --password-stdin < {password}\n" in stack.output
    assert "export DOCKER_CONTENT_TRUST=1\n" in stack.output
    assert f"CA certificate  {stack.ca}\n" in stack.output
    assert stack.password not in stack.output + stack.complaints


def test_each_address_answers_by_all_of_this_machines_names(stack: Stack) -> None:
    port = stack.registry.partition(":")[2]
    context = ssl.create_default_context(cafile=stack.ca)
    for name in ("localhost", "127.0.0.1", "::1", socket.gethostname()):
        with socket.create_connection(("127.0.0.1", int(port))) as plain:
            context.wrap_socket(plain, server_hostname=name).close()


def test_the_signer_lets_nobody_in_without_a_certificate(stack: Stack) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        status(stack, stack.signer, "/health")


def test_databases_and_content_are_for_their_owner(stack: Stack) -> None:
    for name in ("registry.db", "server.db", "signer.db", "content"):
        assert (stack.state / name).stat().st_mode & 0o077 == 0


def test_a_second_one_on_the_same_state_is_refused(stack: Stack) -> None:
    said = refusal(stack)
    assert_one_sentence(said)
    assert "in use by another `troth up`" in said
    assert status(stack, stack.registry, "/v2/") == 401


def test_a_taken_port_is_one_sentence(own: Stack) -> None:
    with socket.create_server(("127.0.0.1", int(own.server.partition(":")[2]))):
        said = refusal(own)
    assert_one_sentence(said)
    assert own.server.partition(":")[2] in said
    assert "--server" in said


def test_a_folder_that_cannot_be_written_is_one_sentence(own: Stack, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    own.state = locked / "var"
    # Root may write everywhere, unless that capability is taken away.
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    said = refusal(own, *powerless)
    assert_one_sentence(said)
    assert "Permission denied" in said


def test_half_an_authority_is_one_sentence(own: Stack) -> None:
    own.state.mkdir()
    (own.state / "ca").mkdir()
    (own.state / "ca/ca.crt").write_text("a certificate")
    said = refusal(own)
    assert_one_sentence(said)
    assert "put it back" in said


def test_a_wrong_address_is_one_sentence(own: Stack) -> None:
    own.registry = "localhost"
    said = refusal(own)
    assert_one_sentence(said)
    assert "HOST:PORT" in said
    assert not own.state.exists()


def test_options_may_come_from_the_environment(own: Stack) -> None:
    variables = {
        "TROTH_STATE": str(own.state), "TROTH_UP_REGISTRY": own.registry, "TROTH_UP_SERVER": own.server,
        "TROTH_UP_SIGNER": "nowhere",
    }  # fmt: skip
    done = subprocess.run(
        own.command[:2], env=own.environment | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "'nowhere' is not an address" in done.stderr


def test_it_ends_with_its_services_and_finds_its_state_again(own: Stack) -> None:
    own.start()
    processes = descendants(own.pid)
    assert len(processes) >= 6  # three masters with at least a worker each
    password, authority = own.password, own.ca.read_bytes()
    assert own.stop() == 0
    assert not any(alive(process) for process in processes)
    assert own.complaints.count("Traceback") == 0
    own.start()
    assert (own.password, own.ca.read_bytes()) == (password, authority)
    os.kill(own.pid, signal.SIGINT)
    assert own.wait() == 0
