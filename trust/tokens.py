# SPDX-License-Identifier: Apache-2.0
"""Scopes, bearer tokens and challenges: the registry token protocol (REGISTRY_API §6, NOTARY_V1 §5.1).

A token is a signed statement: "the bearer `sub` may do `access` at `aud`, until `exp`".  `Issuer` makes it,
`Verifier` believes it or raises; whoever holds the issuer's certificate needs to ask nobody.  Who may do what is
decided elsewhere, by the registry's accounts.

The rules:
* the algorithm follows from the verifier's own key, never from the token: ES256, or RS256 for an RSA certificate;
* the key is found by `kid` among the verifier's own certificates; `jwk`, `jku`, `x5u` and `x5c` in a token's header
  are never read.  We send `x5c` all the same, because other verifiers of the protocol want it;
* `iss`, `aud` (a plain string), `exp`, `nbf` and `iat` must be there and fit, with a minute for clocks that differ;
* a repository and its trust collection's name (GUN) are one thing: `Sites` cuts the host off before names are
  compared.

    issuer = Issuer(key_pem, certificate_pem, "troth", "registry.example.com")
    token = issuer.issue("alice", parse_scopes(["repository:library/app:pull,push"]), now)
    grant = Verifier(certificate_pem, "troth", "registry.example.com", Sites(("localhost:5000",))).verify(token, now)
    grant.allows("repository", "localhost:5000/library/app", "push")
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from trust.errors import InvalidError, SettingsError, UnauthorizedError

#: How far the clocks of issuer and verifier may differ, in seconds (NOTARY_V1 §5.1).
LEEWAY = 60
#: What one request may ask for.  A token that grants all of it still fits into a header line of 8 KB.
MAX_SCOPES = 30
MAX_SCOPE_CHARACTERS = 3000

_MAX_TOKEN = 16384
_MIN_RSA_BITS = 2048
_END_OF_TIME = 2**53
_TYPE = re.compile(r"([a-z0-9]+)(?:\(([a-z0-9]+)\))?")
_ACTION = re.compile(r"[a-z]+|\*")

_PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Access:
    """Actions on one named thing: what a scope asks for, what a token grants, what a view requires."""

    type: str
    name: str
    actions: frozenset[str]
    class_: str = ""


def parse_scopes(text: Iterable[str]) -> list[Access]:
    """Read scopes, several of which may stand in one string, split by spaces (REGISTRY_API §6.4).

    Raises:
        InvalidError: a scope is malformed, or there are too many.
    """
    given = list(text)
    if sum(map(len, given)) > MAX_SCOPE_CHARACTERS:
        raise InvalidError(f"the scopes have more than {MAX_SCOPE_CHARACTERS} characters together")
    scopes = [scope for part in given for scope in part.split(" ") if scope]
    if len(scopes) > MAX_SCOPES:
        raise InvalidError(f"more than {MAX_SCOPES} scopes in one request")
    return [_parse_scope(scope) for scope in scopes]


def _parse_scope(scope: str) -> Access:
    # The name may hold a colon of its own: repository:localhost:5000/library/app:pull
    kind, _, rest = scope.partition(":")
    name, colon, actions = rest.rpartition(":")
    matched = _TYPE.fullmatch(kind)
    listed = actions.split(",") if actions else []
    if not (matched and colon and name and scope.isprintable() and all(map(_ACTION.fullmatch, listed))):
        raise InvalidError("a scope has the form type:name:action,action", detail={"scope": scope[:200]})
    return Access(matched[1], name, frozenset(listed), matched[2] or "")


def format_scope(access: Access) -> str:
    """The scope that `parse_scopes` reads as `access`."""
    kind = f"{access.type}({access.class_})" if access.class_ else access.type
    return f"{kind}:{access.name}:{','.join(sorted(access.actions))}"


class Sites:
    """The host names under which one registry is known.

    Args:
        hosts: with the port, if there is one: `localhost:5000`.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._names = frozenset(re.sub(r":[0-9]+\Z", "", host) for host in self._hosts)

    def repository(self, name: str) -> str:
        """Cut a host of ours off: `localhost:5000/library/app` and `library/app` are both `library/app`.

        A foreign host stays: it is the name of another thing.
        """
        host, _, rest = name.partition("/")
        return rest if rest and host.lower() in self._hosts else name

    def check_repository(self, name: str) -> None:
        """A repository's name does not begin with a host name of ours, with or without its port.

        Where the site has no port in its name, `registry.example.com/app` means the repository `app`: a repository
        that is really called so would share its rights.

        Raises:
            InvalidError: it does.
        """
        host, slash, _ = name.partition("/")
        if slash and host.lower() in self._hosts | self._names:
            raise InvalidError(f"a repository name does not begin with {host}: that is the name of this registry")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a believed token says.  `subject` is empty for the anonymous."""

    subject: str
    access: tuple[Access, ...]
    sites: Sites

    def allows(self, type: str, name: str, action: str) -> bool:
        """Whether the bearer may do `action`.

        `*` in the token covers every action; a required `*` is covered by nothing less (NOTARY_V1 §5.1).
        """
        wanted = self._canonical(type, name)
        return any(
            access.type == type
            and self._canonical(type, access.name) == wanted
            and (action in access.actions or "*" in access.actions)
            for access in self.access
        )

    def _canonical(self, type: str, name: str) -> str:
        return self.sites.repository(name) if type == "repository" else name


class Issuer:
    """Makes tokens.

    Args:
        key_pem: an ECDSA P-256 private key, unencrypted.
        certificate_pem: its certificate, first of its chain if there is one.
        issuer: the `iss` claim.
        service: the `aud` claim, and the `service` that clients must ask for.
        lifetime: seconds; short, because a token cannot be called back.

    Raises:
        SettingsError: the key or the certificate cannot be used, or do not belong together.
    """

    def __init__(
        self, key_pem: bytes, certificate_pem: bytes, issuer: str, service: str, lifetime: int = 300
    ) -> None:
        try:
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError("the token key is not an unencrypted private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SettingsError("the token key must be an ECDSA key on the curve P-256")
        chain = _certificates(certificate_pem)
        if chain[0].public_key() != key.public_key():
            raise SettingsError("the token certificate does not belong to the token key")
        self._key = key
        # The pair that distribution 2.8 and 3.1 and Go's notary-server all take (REGISTRY_API §6.6).
        self._header = {
            "kid": key_id(key.public_key()),
            "x5c": [base64.b64encode(c.public_bytes(Encoding.DER)).decode() for c in chain],
        }
        self._issuer = issuer
        self.service = service
        self.lifetime = lifetime

    def issue(self, subject: str, access: Iterable[Access], now: datetime) -> str:
        """Make a token that grants `access` to `subject` from `now` on."""
        issued = int(now.timestamp())
        claims = {
            "iss": self._issuer,
            "sub": subject,
            "aud": self.service,  # a plain string: distribution 2.8 refuses a list
            "exp": issued + self.lifetime,
            "nbf": issued,
            "iat": issued,
            "jti": secrets.token_hex(16),
            "access": [_to_claim(each) for each in access],
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers=self._header)


class Verifier:
    """Believes tokens of one issuer for one service.

    The certificates only carry keys that the operator has chosen: their validity dates are not looked at.

    Args:
        certificates_pem: one or more certificates, ECDSA P-256 or RSA; several during a change of key.
        issuer: the `iss` to expect.
        service: the `aud` to expect.
        sites: our host names, for the grants.

    Raises:
        SettingsError: the certificates cannot be used.
    """

    def __init__(self, certificates_pem: bytes, issuer: str, service: str, sites: Sites) -> None:
        self._keys: dict[str, tuple[str, _PublicKey]] = {}
        for certificate in _certificates(certificates_pem):
            algorithm, key = _usable(certificate)
            self._keys[key_id(key)] = (algorithm, key)
        self._issuer = issuer
        self._service = service
        self._sites = sites

    def verify(self, token: str, now: datetime) -> Grant:
        """Believe `token`, or raise.

        Raises:
            UnauthorizedError: it is malformed, not signed by a key of ours, for somebody else, or out of its time.
        """
        claims = self._authentic(token)
        if claims.get("iss") != self._issuer:
            raise UnauthorizedError("the token comes from another issuer")
        if claims.get("aud") != self._service:  # a list is not our string
            raise UnauthorizedError("the token is for another service")
        clock = now.timestamp()
        if clock >= _time(claims, "exp") + LEEWAY:
            raise UnauthorizedError("the token has expired")
        if clock < max(_time(claims, "nbf"), _time(claims, "iat")) - LEEWAY:
            raise UnauthorizedError("the token is not valid yet")
        subject = claims.get("sub", "")
        if not isinstance(subject, str):
            raise _malformed()
        return Grant(subject, tuple(map(_from_claim, _list(claims, "access"))), self._sites)

    def _authentic(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise _malformed()
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str) or kid not in self._keys:
                raise UnauthorizedError("the token is signed by an unknown key")
            algorithm, key = self._keys[kid]
            # The claims are checked by our own clock, above; here it is the signature alone.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options={
                    "verify_signature": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            raise UnauthorizedError("the token's signature is not valid") from error
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # RecursionError: json gives up on a header of a thousand brackets
            raise _malformed() from error
        return claims


def authorities_in(certificates_pem: bytes) -> list[str]:
    """The names of those certificates that are certificate authorities'.

    Other verifiers of the protocol follow a chain from the token to an authority; `Verifier` knows keys only.

    Raises:
        SettingsError: the certificates cannot be used.
    """
    found = []
    for certificate in _certificates(certificates_pem):
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            continue
        if constraints.ca:
            found.append(certificate.subject.rfc4514_string())
    return found


def challenge(realm: str, service: str, access: Sequence[Access], error: str = "") -> str:
    """The value of `WWW-Authenticate` that tells a client where to get which token (REGISTRY_API §6.1).

    Args:
        realm: URL of the token endpoint.
        service: what to ask it for.
        access: what is needed; may be empty.
        error: `invalid_token`, `insufficient_scope`, or nothing.
    """
    parts = [("realm", realm), ("service", service)]
    if access:
        parts.append(("scope", " ".join(map(format_scope, access))))
    if error:
        parts.append(("error", error))
    return "Bearer " + ",".join(f"{name}={_quoted(value)}" for name, value in parts)


def key_id(key: _PublicKey) -> str:
    """The libtrust fingerprint of a public key: base32 of 240 bits, in groups of four (NOTARY_V1 §5.1)."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(spki).digest()[:30]).decode()
    return ":".join(text[i : i + 4] for i in range(0, len(text), 4))


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SettingsError("the token certificate is not a certificate in PEM") from error


def _usable(certificate: x509.Certificate) -> tuple[str, _PublicKey]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError("the token certificate's key cannot be read") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256", key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return "RS256", key
    raise SettingsError(f"the token certificate's key must be ECDSA P-256, or RSA of {_MIN_RSA_BITS} bits or more")


def _malformed() -> UnauthorizedError:
    return UnauthorizedError("the token is malformed")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # json reads 1e999 as infinity, and Python's True is a number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _END_OF_TIME:
        raise UnauthorizedError(f"the token has no usable claim {name!r}")
    return value


def _list(claims: dict[str, Any], name: str) -> list[Any]:
    value = claims.get(name)
    if value is None:  # Go writes an empty list as null
        return []
    if not isinstance(value, list):
        raise _malformed()
    return value


def _to_claim(access: Access) -> dict[str, object]:
    claim: dict[str, object] = {"type": access.type, "name": access.name, "actions": sorted(access.actions)}
    return claim | {"class": access.class_} if access.class_ else claim


def _from_claim(claim: object) -> Access:
    if not isinstance(claim, dict):
        raise _malformed()
    texts = [claim.get("type"), claim.get("name"), claim.get("class", "")]
    actions = _list(claim, "actions")
    if not all(isinstance(text, str) for text in [*texts, *actions]):
        raise _malformed()
    return Access(str(texts[0]), str(texts[1]), frozenset(actions), str(texts[2]))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # A header holds bytes: UTF-8 as it is in the request's path; and never a second line.
    data = bytes(b for b in escaped.encode("utf-8", "replace") if b >= 0x20 and b != 0x7F)
    return f'"{data.decode("latin-1")}"'
