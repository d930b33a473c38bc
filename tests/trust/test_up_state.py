# SPDX-License-Identifier: Apache-2.0
"""The state folder of `troth up`: found again, never half replaced, and closed to others."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trust.ca import AUTHORITY_LIFETIME, CERTIFICATE_LIFETIME, Authority, Pair, new_authority, not_after
from trust.cli.address import Address, claim
from trust.cli.state import Addresses, State
from trust.errors import ConflictError, InvalidError, SettingsError

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = ["localhost", "127.0.0.1"]
ADDRESSES = Addresses(*map(Address.parse, ("localhost:5000", "localhost:4443", "localhost:4444")))
SECRETS = {
    "ca/ca.key", "tls/registry.key", "tls/server.key", "tls/signer.key", "tls/server-client.key",
    "tokens/token.key", "passphrases/default", "admin-password",
}  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "var")
    yield state
    state.close()


def files(state: State) -> dict[str, bytes]:
    return {
        str(path.relative_to(state.folder)): path.read_bytes()
        for path in state.folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_new_state_has_its_parts_and_closed_secrets(state: State) -> None:
    before = os.umask(0)
    try:
        state.prepare(ADDRESSES, HOSTS, NOW)
    finally:
        os.umask(before)
    assert set(files(state)) == SECRETS | {
        "ca/ca.crt", "tls/registry.crt", "tls/server.crt", "tls/signer.crt", "tls/server-client.crt",
        "tokens/token.crt", "signer.toml", "server.toml", "registry.toml",
    }  # fmt: skip
    assert {name: stat.S_IMODE((state.folder / name).stat().st_mode) for name in SECRETS} == dict.fromkeys(
        SECRETS, 0o600
    )
    assert len((state.folder / "admin-password").read_text().strip()) >= 20


def test_a_second_start_changes_nothing(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    before = files(state)
    state.prepare(ADDRESSES, HOSTS, NOW + timedelta(days=1))
    assert files(state) == before


def test_the_settings_follow_the_addresses_and_name_each_other(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    moved = Addresses(*map(Address.parse, ("images.example:443", "localhost:1443", "127.0.0.1:1444")))
    state.prepare(moved, HOSTS, NOW)
    text = {name: (state.folder / f"{name}.toml").read_text() for name in ("registry", "server", "signer")}
    registry, server, signer = (tomllib.loads(text[name]) for name in ("registry", "server", "signer"))
    assert (registry["listen"], server["listen"], signer["listen"]) == (
        "0.0.0.0:443",
        "127.0.0.1:1443",
        "127.0.0.1:1444",
    )
    assert registry["hosts"] == server["hosts"]
    assert registry["hosts"][0] == "images.example"  # it stands in the names of trust collections
    assert set(registry["hosts"]) >= {Address(host, 443).name for host in HOSTS}
    assert registry["token_realm"] == server["token_realm"] == "https://images.example/auth/token"
    assert registry["notary_url"] == "https://localhost:1443"
    assert server["signer_url"] == "https://127.0.0.1:1444"
    assert text["registry"].startswith("# Written by `troth up` at each start")
    assert "TROTH_REGISTRY_" in text["registry"]


def test_every_file_that_the_settings_name_exists(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    for name in ("registry", "server", "signer"):
        settings = tomllib.loads((state.folder / f"{name}.toml").read_text())
        paths = [
            value for value in settings.values() if isinstance(value, str) and re.match(r"(ca|tls|tokens)/", value)
        ]
        assert paths
        assert all((state.folder / path).is_file() for path in paths)


def test_a_new_name_renews_the_servers_certificates_alone(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    before = files(state)
    state.prepare(ADDRESSES, [*HOSTS, "box.example"], NOW)
    after = files(state)
    changed = {name for name in before if before[name] != after[name]}
    certificates = {f"tls/{name}.{kind}" for name in ("registry", "server", "signer") for kind in ("crt", "key")}
    # The registry and the server are known by that name, too.
    assert changed == certificates | {"registry.toml", "server.toml"}


def test_what_nears_its_end_is_renewed_and_the_authority_stays(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    before = files(state)
    late = NOW + CERTIFICATE_LIFETIME * 0.9
    state.prepare(ADDRESSES, HOSTS, late)
    after = files(state)
    for name in ("registry", "server", "signer", "server-client"):
        assert not_after(after[f"tls/{name}.crt"]) > late + CERTIFICATE_LIFETIME * 0.9
    assert after["ca/ca.crt"] == before["ca/ca.crt"]


def test_an_interrupted_renewal_is_done_again(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    # The new key is in place, the new certificate is not.
    authority = Authority(Pair.read(state.folder / "ca/ca.crt", state.folder / "ca/ca.key"))
    fresh = authority.issue("registry", HOSTS, server=True, client=False, now=NOW)
    (state.folder / "tls/registry.key").write_bytes(fresh.key_pem)
    (state.folder / "tokens/token.crt").unlink()
    state.prepare(ADDRESSES, HOSTS, NOW)
    Pair.read(state.folder / "tls/registry.crt", state.folder / "tls/registry.key")
    Pair.read(state.folder / "tokens/token.crt", state.folder / "tokens/token.key")


def test_an_interrupted_first_start_leaves_no_authority(state: State) -> None:
    draft = state.folder / ".ca.new"
    draft.mkdir()
    (draft / "ca.key").write_text("half")
    state.prepare(ADDRESSES, HOSTS, NOW)
    assert not draft.exists()
    Authority(Pair.read(state.folder / "ca/ca.crt", state.folder / "ca/ca.key"))


@pytest.mark.parametrize(("missing", "left"), [("ca.key", "ca.crt"), ("ca.crt", "ca.key")])
def test_half_an_authority_is_refused(state: State, missing: str, left: str) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    (state.folder / "ca" / missing).unlink()
    before = files(state)
    with pytest.raises(SettingsError, match=f"{left} is there, but .*{missing} is not: put it back"):
        state.prepare(ADDRESSES, HOSTS, NOW)
    assert files(state) == before


def test_a_foreign_or_damaged_authority_is_refused(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    (state.folder / "ca/ca.key").write_bytes(new_authority("other", NOW).key_pem)
    with pytest.raises(SettingsError, match="is not the key of the certificate"):
        state.prepare(ADDRESSES, HOSTS, NOW)
    (state.folder / "ca/ca.crt").write_text("nonsense")
    with pytest.raises(SettingsError, match="is not a certificate"):
        state.prepare(ADDRESSES, HOSTS, NOW)


def test_an_authority_at_its_end_is_refused(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    with pytest.raises(SettingsError, match="ended on"):
        state.prepare(ADDRESSES, HOSTS, NOW + AUTHORITY_LIFETIME + timedelta(days=1))


def test_a_passphrase_is_not_made_again_beside_the_keys_that_need_it(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    (state.folder / "signer.db").touch()
    (state.folder / "passphrases/default").unlink()
    with pytest.raises(SettingsError, match=r"signer.db is there, but .*passphrases/default.* is not: put it back"):
        state.prepare(ADDRESSES, HOSTS, NOW)
    assert not (state.folder / "passphrases/default").exists()


def test_a_first_password_that_was_removed_does_not_come_back_as_another(state: State) -> None:
    state.prepare(ADDRESSES, HOSTS, NOW)
    (state.folder / "registry.db").touch()
    state.password.unlink()
    state.prepare(ADDRESSES, HOSTS, NOW)
    assert not state.password.exists()


def test_a_state_has_one_user_at_a_time(state: State) -> None:
    with pytest.raises(ConflictError, match="in use by another `troth up`"):
        State(state.folder)


def test_the_state_of_a_killed_run_is_free_once_its_services_are_gone(tmp_path: Path) -> None:
    # A process that is gone left its number in the lock file, and a child that holds the lock for a second.
    script = (
        "import subprocess, sys, pathlib; from trust.cli.state import State; s = State(pathlib.Path(sys.argv[1]));"
        "subprocess.Popen(['sleep', '1'], pass_fds=[s.lock], stdout=subprocess.DEVNULL)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "var"], check=True)
    State(tmp_path / "var").close()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/var"):
        with pytest.raises(SettingsError, match="cannot be used"):
            State(folder)


def test_a_path_that_no_database_url_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\?"):
        State(tmp_path / "what?")


def test_a_host_that_no_certificate_can_name_is_refused(state: State) -> None:
    with pytest.raises(InvalidError, match="neither a DNS name"):
        state.prepare(ADDRESSES, ["bücher"], NOW)


@pytest.mark.parametrize(
    ("text", "url", "listen", "name"),
    [
        ("localhost:5000", "https://localhost:5000", "127.0.0.1:5000", "localhost:5000"),
        ("LOCALHOST:5000", "https://localhost:5000", "127.0.0.1:5000", "localhost:5000"),
        ("127.0.0.1:5000", "https://127.0.0.1:5000", "127.0.0.1:5000", "127.0.0.1:5000"),
        ("[::1]:5000", "https://[::1]:5000", "[::1]:5000", "[::1]:5000"),
        ("images.example:443", "https://images.example", "0.0.0.0:443", "images.example"),
    ],
)
def test_an_address_says_where_and_how_it_is_called(text: str, url: str, listen: str, name: str) -> None:
    address = Address.parse(text)
    assert (address.url, address.listen, address.name) == (url, listen, name)


@pytest.mark.parametrize(
    "text", ["", "localhost", ":5000", "localhost:0", "localhost:65536", "localhost:http", "a b:1", "::1:5000",
             "[localhost]:5000", "[127.0.0.1]:5000", "-a:1", "a/b:1", "https://localhost:5000", "bücher:1"]
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not an address"):
        Address.parse(text)


def test_a_taken_port_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address.parse(f"localhost:{taken.getsockname()[1]}")
        with pytest.raises(SettingsError, match=r"cannot listen on .*already in use.*--registry"):
            claim({"--registry": address})
    claim({"--registry": address})
    with pytest.raises(SettingsError, match="--server"):
        claim({"--registry": address, "--server": address})


def test_the_command_needs_none_of_the_services_packages() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('flask', 'sqlalchemy', 'gunicorn', 'argon2')));"
        "from trust.cli.main import main; main(['up', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "TROTH_UP_REGISTRY" in done.stdout
