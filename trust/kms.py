# SPDX-License-Identifier: Apache-2.0
"""Keys in the clouds' key management, through securesystemslib's signers.

| URI | home | extra |
| --- | --- | --- |
| `awskms:KEY` | AWS KMS | `awskms` |
| `gcpkms:projects/…/cryptoKeyVersions/N` | Google Cloud KMS | `gcpkms` |
| `azurekms://VAULT.vault.azure.net/keys/NAME` | Azure Key Vault | `azurekms` |
| `hv:NAME` | HashiCorp Vault, engine transit | `vault` |

Credentials are the cloud's own: variables, files or roles that its library knows.  securesystemslib hashes by the
curve, Notary always by SHA-256, so ECDSA keys must be P-256; RSA keys must sign with PSS and SHA-256.
"""

from __future__ import annotations

from urllib.parse import urlparse

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.exceptions import UnsupportedAlgorithmError, UnsupportedLibraryError
from securesystemslib.signer import AWSSigner, AzureSigner, GCPSigner, Signer, SSlibKey, VaultSigner

from trust.errors import InvalidError, SettingsError, TrustError, UnavailableError
from trust.hardware import ECDSA_SHA256, ED25519, RSA_PSS_SHA256, hardware_key
from trust.keys import PrivateKey, PublicKey

#: securesystemslib's names of what Notary can read.
_SCHEMES = {
    "ecdsa-sha2-nistp256": ECDSA_SHA256,
    "rsassa-pss-sha256": RSA_PSS_SHA256,
    "ed25519": ED25519,
}
_EXTRAS = {"awskms": "awskms", "gcpkms": "gcpkms", "azurekms": "azurekms", "hv": "vault"}
_AZURE = ".vault.azure.net"


def find_key(uri: str) -> tuple[str, PrivateKey]:
    """The key at `uri`, with its public half as its home gives it; see `trust.keyuri.find_key`."""
    scheme = _check(uri)
    try:
        exact, listed = _ask(uri, scheme)
    except Exception as error:
        raise _translated(uri, scheme, error) from error
    return exact, _open(exact, scheme, listed)


def open_key(uri: str, public: PublicKey) -> PrivateKey:
    """The key at `uri`, whose public half is known; see `trust.keyuri.open_key`."""
    scheme = _check(uri)
    return _open(uri, scheme, SSlibKey.from_crypto(public, scheme=_scheme_of(public, uri)))


def _check(uri: str) -> str:
    scheme = uri.partition(":")[0]
    if scheme not in _EXTRAS:
        homes = ", ".join(["pkcs11", *_EXTRAS])
        raise InvalidError(f"a key's URI begins with one of {homes}, not with {scheme[:20]!r}")
    return scheme


def _open(uri: str, scheme: str, listed: SSlibKey) -> PrivateKey:
    if listed.scheme not in _SCHEMES:
        raise InvalidError(f"the key {uri} signs by {listed.scheme}, which Notary cannot read; take a P-256 key")
    try:
        signer = Signer.from_priv_key_uri(uri, listed)
    except Exception as error:
        raise _translated(uri, scheme, error) from error

    def sign(data: bytes, how: str) -> bytes:
        if how != _SCHEMES[listed.scheme]:
            raise InvalidError(f"the key {uri} signs by {listed.scheme} alone; a root key must be ECDSA")
        try:
            return bytes.fromhex(signer.sign(data).signature)
        except Exception as error:
            raise _translated(uri, scheme, error) from error

    return hardware_key(_public_of(listed), sign, uri)


def _ask(uri: str, scheme: str) -> tuple[str, SSlibKey]:
    """The exact URI and the public key."""
    parsed = urlparse(uri)
    if scheme == "awskms":
        return AWSSigner.import_(parsed.path)
    if scheme == "gcpkms":
        return GCPSigner.import_(parsed.path)
    # These two give the newest version's public key, so no other can be asked for.
    if scheme == "hv":
        if "/" in parsed.path:
            raise InvalidError("a key in Vault is hv:NAME, without a version: it is the newest")
        return VaultSigner.import_(parsed.path)
    host, (_, *parts) = parsed.hostname or "", parsed.path.split("/")
    if len(parts) != 2 or parts[0] != "keys" or not host.endswith(_AZURE):
        raise InvalidError(f"an Azure key is azurekms://VAULT{_AZURE}/keys/NAME, without a version: it is the newest")
    return AzureSigner.import_(host.removesuffix(_AZURE), parts[1])


def _scheme_of(public: PublicKey, uri: str) -> str:
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public, rsa.RSAPublicKey):
        return "rsassa-pss-sha256"
    if isinstance(public.curve, ec.SECP256R1):
        return "ecdsa-sha2-nistp256"
    raise InvalidError(f"the key {uri} is on a curve that is not P-256")


def _public_of(listed: SSlibKey) -> PublicKey:
    public = listed.keyval["public"]
    if listed.scheme == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    key = serialization.load_pem_public_key(public.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)  # what these schemes are for
    return key


def _translated(uri: str, scheme: str, error: Exception) -> TrustError:
    if isinstance(error, TrustError):
        return error
    if isinstance(error, UnsupportedLibraryError):
        extra = _EXTRAS[scheme]
        return SettingsError(f"keys at {scheme}: need the extra {extra}: pip install 'troth[{extra}]'")
    if isinstance(error, UnsupportedAlgorithmError):
        return InvalidError(f"the key {uri} is of a kind that Notary cannot read; take a P-256 key")
    # The cloud's own words: they say who may not do what.
    words = " ".join(str(error).split())[:300]
    return UnavailableError(f"the key {uri} cannot be used: {type(error).__name__}: {words}")
