# SPDX-License-Identifier: Apache-2.0
"""Keys by URI: what is understood, and that a secret in one is neither used nor repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import InvalidError, SettingsError
from trust.keys import generate_private
from trust.keyuri import MODULE_VARIABLE, TokenUri, find_key, make_key, open_key

_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(lambda name: Path("/", name))


@given(
    _TEXT, st.just("") | _TEXT, st.just("") | _TEXT, st.binary(max_size=20), st.none() | _PATHS, st.none() | _PATHS
)
def test_a_uri_says_what_it_was_made_of(
    token: str, serial: str, label: str, key_id: bytes, module: Path | None, pin_file: Path | None
) -> None:
    uri = TokenUri(token, serial, label, key_id, module, pin_file)
    assert TokenUri.parse(str(uri)) == uri


@given(st.text() | st.text("pkcs11:token=objecid;&?%0aF-/ _source").map(lambda text: "pkcs11:" + text))
def test_whatever_is_no_uri_is_refused_as_such(text: str) -> None:
    try:
        parsed = TokenUri.parse(text)
    except InvalidError:
        return
    assert TokenUri.parse(str(parsed)) == parsed


def test_the_attributes_of_rfc_7512_are_read() -> None:
    uri = "pkcs11:type=private;id=%01%ff;object=my%20key;serial=0a;token=The%20Software%20PKCS%2311%20token"
    uri += "?pin-source=file:/etc/token%20pin&module-path=/usr/lib/softhsm/libsofthsm2.so"
    assert TokenUri.parse(uri) == TokenUri(
        "The Software PKCS#11 token",
        "0a",
        "my key",
        b"\x01\xff",
        Path("/usr/lib/softhsm/libsofthsm2.so"),
        Path("/etc/token pin"),
    )
    assert TokenUri.parse("pkcs11:token=a?pin-source=/pin").pin_file == Path("/pin")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("pkcs11:token=a;object=b?pin-value=13579", "a PIN does not belong into a URI"),
        ("pkcs11:token=a;pin-value=13579", "a PIN does not belong into a URI"),
        ("pkcs11:token=a;object=b?pin-source=|echo%2013579", "full path"),
        ("pkcs11:token=a;object=b?pin-source=13579", "full path"),
        ("pkcs11:token=a;object=b?module-path=lib.so", "full path"),
        ("pkcs11:token=a;object=b?module-name=softhsm", "not understood: 'module-name'"),
        ("pkcs11:token=a;manufacturer=b", "not understood: 'manufacturer'"),
        ("pkcs11:token=a;token=b", "not understood: 'token'"),
        ("pkcs11:token=a;object=", "not understood: 'object'"),
        ("pkcs11:token=a;object", "not understood: 'object'"),
        ("pkcs11:token=a;type=cert;object=b", "no private key"),
        ("pkcs11:object=b", "must name the token"),
        ("pkcs11:", "must name the token"),
        ("pkcs11:token=%zz", "no PKCS#11 URI"),
        ("pkcs11:token=%ff", "not UTF-8"),
        ("pkcs11:token=a b", "no PKCS#11 URI"),
        ("pkcs11:token=a", "must name the key"),
        ("/etc/key.pem", "begins with one of pkcs11, awskms, gcpkms, azurekms, hv"),
        ("file:/etc/key.pem?encrypted=false", "begins with one of"),
        ("hsm:2", "begins with one of"),
        ("azurekms://keys.example.org/keys/a", "an Azure key is"),
        ("azurekms://a.vault.azure.net/keys/a/1", "without a version"),
        ("hv:a/1", "without a version"),
    ],
)
def test_what_is_not_understood_is_refused_and_no_pin_repeated(uri: str, reason: str) -> None:
    with pytest.raises(InvalidError, match=reason) as caught:
        find_key(uri)
    assert "13579" not in str(caught.value)


def test_a_key_is_made_on_a_token_by_its_label_alone() -> None:
    for uri in ("pkcs11:token=a", "pkcs11:token=a;object=b;id=%01"):
        with pytest.raises(InvalidError, match="by object alone"):
            make_key(uri)
    with pytest.raises(InvalidError, match="no PKCS#11 URI"):
        make_key("awskms:a")


def test_the_module_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODULE_VARIABLE, raising=False)
    with pytest.raises(InvalidError, match="which PKCS#11 module"):
        find_key("pkcs11:token=a;object=b")
    monkeypatch.setenv(MODULE_VARIABLE, "lib.so")
    with pytest.raises(InvalidError, match="full path"):
        find_key("pkcs11:token=a;object=b")


@pytest.mark.parametrize(
    ("uri", "package", "name", "extra"),
    [
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "gcp", "GCP", "gcpkms"),
        ("azurekms://a.vault.azure.net/keys/a", "azure", "AZURE", "azurekms"),
        ("hv:a", "vault", "VAULT", "vault"),
        ("awskms:a", "aws", "AWS", "awskms"),
    ],
)
def test_without_the_extra_it_is_named(
    uri: str, package: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = sys.modules[f"securesystemslib.signer._{package}_signer"]
    monkeypatch.setattr(signer, f"{name}_IMPORT_ERROR", "it is missing")
    public = generate_private("ed25519" if package == "vault" else "ecdsa").public_key()
    with pytest.raises(SettingsError, match=rf"pip install 'troth\[{extra}\]'"):
        find_key(uri)
    with pytest.raises(SettingsError, match=rf"pip install 'troth\[{extra}\]'"):
        open_key(uri + "/1" if package == "vault" else uri, public)
