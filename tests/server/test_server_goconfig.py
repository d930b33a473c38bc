# SPDX-License-Identifier: Apache-2.0
"""The configuration file of Go's notary-server means in our server what it meant there (NOTARY_V1 §4.3)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from server.app import main
from server.goconfig import GO_PREFIX, translate
from server.settings import PREFIX, Settings
from trust.ca import Authority, Pair, new_authority, self_signed
from trust.errors import SettingsError
from trust.goconfig import load

_NOW = datetime.now(UTC)


def _go() -> dict[str, Any]:
    """A whole file, as an operator has it."""
    return {
        "server": {"http_addr": ":4443", "tls_cert_file": "./tls/server.crt", "tls_key_file": "tls/server.key"},
        "trust_service": {
            "type": "remote",
            "hostname": "notarysigner",
            "port": "7899",
            "tls_ca_file": "ca.crt",
            "tls_client_cert": "client.crt",
            "tls_client_key": "client.key",
            "key_algorithm": "ed25519",
        },
        "logging": {"level": "warn"},
        "storage": {"backend": "mysql", "db_url": "server@tcp(mysql:3306)/notaryserver?parseTime=True"},
        "auth": {
            "type": "token",
            "options": {
                "realm": "https://auth.example.com/auth",
                "service": "notary",
                "issuer": "auth.example.com",
                "rootcertbundle": "/etc/auth.pem",
            },
        },
        "caching": {"max_age": {"current_metadata": 60, "consistent_metadata": 600}},
        "repositories": {"gun_prefixes": ["docker.io/", "my-own-registry.com/"]},
    }


def _load(folder: Path, config: object, environ: Mapping[str, str] | None = None) -> tuple[Settings, list[str]]:
    path = folder / "server.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return load(Settings, path, prefix=PREFIX, go_prefix=GO_PREFIX, translate=translate, environ=environ or {})


def _problems(folder: Path, config: object, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _load(folder, config, environ)
    assert isinstance(caught.value.detail, list), caught.value
    return [str(each).removeprefix(f"{folder}/server.json: ") for each in caught.value.detail]


def test_a_whole_file_is_understood(tmp_path: Path) -> None:
    settings, notes = _load(tmp_path, _go())
    assert settings == Settings(
        listen="0.0.0.0:4443",
        tls_certificate=tmp_path / "tls/server.crt",
        tls_key=tmp_path / "tls/server.key",
        database_url="mysql+pymysql://server@mysql:3306/notaryserver?charset=utf8mb4",
        signer_url="https://notarysigner:7899",
        signer_ca=tmp_path / "ca.crt",
        signer_client_certificate=tmp_path / "client.crt",
        signer_client_key=tmp_path / "client.key",
        key_algorithm="ed25519",
        token_certificate=Path("/etc/auth.pem"),
        token_realm="https://auth.example.com/auth",
        token_issuer="auth.example.com",
        token_service="notary",
        hosts=(),
        gun_prefixes=("docker.io/", "my-own-registry.com/"),
        current_max_age=60,
        consistent_max_age=600,
        log_level="warning",
    )
    assert [note.partition(":")[0] for note in notes] == ["server.http_addr", "trust_service"]
    assert "must be a troth-signer" in notes[1]


def test_what_a_file_leaves_out_has_gos_default(tmp_path: Path) -> None:
    config = _go()
    for name in ("auth", "caching", "repositories", "logging"):
        del config[name]
    del config["trust_service"]["key_algorithm"]
    settings, notes = _load(tmp_path, config)
    assert (settings.current_max_age, settings.consistent_max_age) == (300, 2592000)
    assert (settings.gun_prefixes, settings.token_certificate, settings.key_algorithm) == ((), None, "ecdsa")
    assert "auth.type is not token: everybody may do everything" in notes


def test_keys_are_case_insensitive(tmp_path: Path) -> None:
    config = json.loads(json.dumps(_go()).replace('"server"', '"Server"').replace("db_url", "DB_URL"))
    assert _load(tmp_path, config) == _load(tmp_path, _go())


def test_gos_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "NOTARY_SERVER_SERVER_HTTP_ADDR": "127.0.0.1:4000",
        "NOTARY_SERVER_SERVER_TLS_CERT_FILE": "other.crt",
        "NOTARY_SERVER_STORAGE_DB_URL": "root:secret@tcp(db)/other",
        "NOTARY_SERVER_CACHING_MAX_AGE_CURRENT_METADATA": "7",
        "NOTARY_SERVER_REPOSITORIES_GUN_PREFIXES": "a/ b/",
        "NOTARY_SERVER_TRUST_SERVICE_HOSTNAME": "",
        "NOTARY_SERVER_AUTH_OPTIONS_ISSUER": "somebody else",
    }
    settings, _ = _load(tmp_path, _go(), environ)
    assert (settings.listen, settings.tls_certificate) == ("127.0.0.1:4000", tmp_path / "other.crt")
    assert settings.database_url == "mysql+pymysql://root:secret@db/other?charset=utf8mb4"
    assert (settings.current_max_age, settings.gun_prefixes) == (7, ("a/", "b/"))
    assert settings.signer_url == "https://notarysigner:7899"  # an empty variable is none
    assert settings.token_issuer == "auth.example.com"  # nested maps cannot be set


def test_our_own_environment_wins_over_both_and_says_what_go_has_no_word_for(tmp_path: Path) -> None:
    config = _go()
    config["storage"] = {"backend": "memory"}
    environ = {
        "NOTARY_SERVER_SERVER_HTTP_ADDR": "127.0.0.1:4000",
        "TROTH_SERVER_LISTEN": "127.0.0.1:4001",
        "TROTH_SERVER_DATABASE_URL": "sqlite:////var/lib/server.db",
        "TROTH_SERVER_HOSTS": "registry.example.com",
        "TROTH_SERVER_WORKERS": "4",
    }
    settings, _ = _load(tmp_path, config, environ)
    assert (settings.listen, settings.database_url) == ("127.0.0.1:4001", "sqlite:////var/lib/server.db")
    assert (settings.hosts, settings.workers) == (("registry.example.com",), 4)


@pytest.mark.parametrize(
    ("backend", "url", "expected"),
    [
        ("mysql", "u:p@tcp(h:3307)/d", {"user": "u", "password": "p", "host": "h", "port": 3307, "database": "d"}),
        ("mysql", "u:p:/@x?@tcp(h:3306)/d", {"user": "u", "password": "p:/@x?", "host": "h"}),
        ("mysql", "u:%41@tcp([::1]:3306)/d?tls=false&parseTime=true", {"password": "%41", "host": "::1"}),
        ("mysql", "u@unix(/run/my.sock)/d", {"user": "u", "unix_socket": "/run/my.sock", "database": "d"}),
        ("mysql", "u:p@/d", {"host": "127.0.0.1", "port": 3306, "database": "d"}),
        (
            "postgres",
            "postgres://u:p%40@h:5433/d?sslmode=verify-ca&sslrootcert=/etc/ca%20.pem",
            {
                "user": "u", "password": "p@", "host": "h", "port": 5433, "dbname": "d",
                "sslmode": "verify-ca", "sslrootcert": "/etc/ca .pem",
            },
        ),
        ("postgres", "postgresql://u@h/d", {"user": "u", "host": "h", "dbname": "d", "sslmode": "require"}),
        (
            "postgres",
            "user=u password='p =' dbname=d host=h sslmode=disable",
            {"user": "u", "password": "p =", "dbname": "d", "host": "h", "sslmode": "disable"},
        ),
    ],
)  # fmt: skip
def test_database_urls_reach_the_driver_as_they_were_meant(
    tmp_path: Path, backend: str, url: str, expected: dict[str, object]
) -> None:
    settings, _ = _load(tmp_path, _go() | {"storage": {"backend": backend, "db_url": url}})
    engine = create_engine(settings.database_url)
    _, arguments = engine.dialect.create_connect_args(engine.url)
    assert {name: arguments.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("storage", "complaint"),
    [
        ({"backend": "rethinkdb", "db_url": "hunter2"}, "'rethinkdb' is not supported"),
        ({"backend": "memory"}, "'memory' is not supported"),
        ({"backend": "mysql"}, "storage.db_url is missing"),
        ({}, "storage.backend is missing"),
        ({"backend": "mysql", "db_url": "hunter2"}, "must be of the form"),
        ({"backend": "mysql", "db_url": "u:hunter2@tcp(h/d"}, "must be of the form"),
        ({"backend": "mysql", "db_url": "u:hunter2@udp(h)/d"}, "the protocol 'udp' is not supported"),
        ({"backend": "mysql", "db_url": "u:hunter2@tcp(h)/d?tls=true"}, "tls cannot be carried over"),
        ({"backend": "postgres", "db_url": "mysql://u:hunter2@h/d"}, "must begin with postgres://"),
        ({"backend": "postgres", "db_url": "hunter2"}, "name=value pairs"),
        ({"backend": "postgres", "db_url": "postgres://u:hunter2@[h/d"}, "cannot be read"),
        ({"backend": "postgres", "db_url": "postgres://u:hunter2\u2100@h/d"}, "cannot be read"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(
    tmp_path: Path, storage: dict[str, str], complaint: str
) -> None:
    (problem,) = _problems(tmp_path, _go() | {"storage": storage})
    assert complaint in problem
    assert "hunter2" not in problem


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    config = {
        "server": {"http_addr": 4443.5},
        "trust_service": {"type": "local", "key_algorithm": "rsa"},
        "storage": {"backend": "rethinkdb", "database": "notary"},
        "auth": {"type": "token", "options": {"realm": "https://auth", "issuer": ["x"]}},
        "caching": {"max_age": {"current_metadata": "long"}},
        "repositories": {"gun_prefixes": "docker.io/"},
    }
    problems = _problems(tmp_path, config)
    wrong = [
        "server.http_addr must be a text", "caching.max_age.current_metadata must be a number",
        "repositories.gun_prefixes must be a list", "storage.backend: 'rethinkdb'", "trust_service.type: local keys",
        "key_algorithm must be ecdsa or ed25519, not 'rsa'", "auth.options.service is missing",
        "auth.options.issuer must be a text", "auth.options.rootcertbundle is missing",
    ]  # fmt: skip
    assert [each for each in wrong if not any(each in problem for problem in problems)] == []


def test_a_remote_signer_needs_an_address_and_mutual_tls(tmp_path: Path) -> None:
    problems = _problems(tmp_path, _go() | {"trust_service": {"type": "remote"}})
    assert [problem.partition(" ")[0] for problem in problems] == [
        "trust_service.hostname", "trust_service.tls_ca_file", "trust_service.tls_client_cert",
        "trust_service.tls_client_key",
    ]  # fmt: skip


def test_what_is_not_supported_and_does_no_harm_is_noted(tmp_path: Path) -> None:
    config = _go() | {"reporting": {"bugsnag": {"api_key": "hunter2"}}, "extra": {"thing": 1}}
    config["auth"]["options"]["autoredirect"] = True
    _, notes = _load(tmp_path, config)
    for start in ("reporting.bugsnag.api_key: ", "extra.thing: ", "auth.options.autoredirect: "):
        assert any(note.startswith(start) and "ignored" in note for note in notes), start
    assert "hunter2" not in str(notes)


def test_client_certificates_stay_required(tmp_path: Path) -> None:
    config = _go()
    config["server"]["client_ca_file"] = "clients.crt"
    assert _load(tmp_path, config)[0].client_ca == tmp_path / "clients.crt"
    for name in ("tls_cert_file", "tls_key_file"):
        del config["server"][name]
    with pytest.raises(SettingsError, match="client_ca needs a tls_certificate"):
        _load(tmp_path, config)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "hunter2', "[" * 100_000, "\ud800"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "server.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsError, match="is not") as caught:
        load(Settings, path, prefix=PREFIX, go_prefix=GO_PREFIX, translate=translate, environ={})
    assert "hunter2" not in str(caught.value)


def test_toml_is_still_ours(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text('database_url = "sqlite://"\n')
    settings, notes = load(Settings, path, prefix=PREFIX, go_prefix=GO_PREFIX, translate=translate, environ={})
    assert (settings, notes) == (Settings(database_url="sqlite://"), [])


def _working(folder: Path, token: Pair) -> Path:
    """A file whose every part is there."""
    authority = Authority(new_authority("an authority", _NOW))
    server = authority.issue("server", ["localhost"], server=True, client=False, now=_NOW)
    client = authority.issue("notary-server", [], server=False, client=True, now=_NOW)
    (folder / "tls").mkdir()
    server.write(folder / "tls/server.crt", folder / "tls/server.key")
    client.write(folder / "client.crt", folder / "client.key")
    (folder / "ca.crt").write_bytes(authority.certificate_pem)
    (folder / "auth.pem").write_bytes(token.certificate_pem)
    config = _go()
    config["auth"]["options"]["rootcertbundle"] = "auth.pem"
    path = folder / "server.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TROTH_SERVER_DATABASE_URL", "TROTH_SERVER_HOSTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("option", ["--config", "-config"])
def test_check_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    path = _working(tmp_path, self_signed("tokens", _NOW))
    assert main([option, str(path), "--check", "-logf=json"]) == 0
    output = capsys.readouterr().out
    assert "troth-server: nothing is wrong with the settings" in output
    assert "authority" not in output


@pytest.mark.parametrize("option", ["--version", "-version"])
def test_the_version_is_told(capsys: pytest.CaptureFixture[str], option: str) -> None:
    # NOTARY_V1 §4.3, the flags
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"troth-server {version('troth')}\n")


def test_debug_logs_everything_whatever_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # NOTARY_V1 §4.3, the flags.  It does not get as far as serving: the token certificate is missing.
    path = _working(tmp_path, self_signed("tokens", _NOW))
    (tmp_path / "auth.pem").unlink()
    monkeypatch.setenv("TROTH_SERVER_DATABASE_URL", f"sqlite:///{tmp_path}/server.db")
    root = logging.getLogger()
    before, levels = root.level, []
    for flags in (["-debug"], []):
        assert main(["-config", str(path), *flags]) == 1
        levels.append(root.level)
    root.setLevel(before)
    assert levels == [logging.DEBUG, logging.WARNING]


def test_check_says_that_an_authority_in_the_bundle_signs_no_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _working(tmp_path, new_authority("all tokens", _NOW))
    assert main(["--config", str(path), "--check"]) == 0
    assert "auth.pem: CN=all tokens is a certificate authority's" in capsys.readouterr().out


def test_check_lists_every_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _working(tmp_path, self_signed("tokens", _NOW))
    for name in ("tls/server.key", "client.key", "auth.pem"):
        (tmp_path / name).write_text("nonsense")
    assert main(["--config", str(path), "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    for name in ("tls/server.crt", "client.crt", "the token certificate"):
        assert any(line.startswith("troth-server: ") and name in line for line in lines), (name, lines)


def test_check_lists_what_is_wrong_in_our_own_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "server.toml"
    path.write_text('database_url = "nonsense"\nlisten = "x"\nkey_algorithm = "rsa"\n')
    assert main(["--config", str(path), "--check"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
    path.write_text('database_url = "nonsense"\n')
    assert main(["--config", str(path), "--check"]) == 1
    assert "the database URL cannot be used" in capsys.readouterr().out
    assert main(["--config", str(tmp_path / "missing.json"), "--check"]) == 1
    assert "cannot read the settings" in capsys.readouterr().out
