# SPDX-License-Identifier: Apache-2.0
"""Scopes, tokens and challenges (NOTARY_V1 §5.1).  `AUTH-Ann` in a docstring: the attack that the test holds off."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from trust.ca import Pair, self_signed
from trust.errors import InvalidError, SettingsError, UnauthorizedError
from trust.tokens import (
    MAX_SCOPE_CHARACTERS,
    MAX_SCOPES,
    Access,
    Issuer,
    Sites,
    Verifier,
    challenge,
    format_scope,
    key_id,
    parse_scopes,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SITES = Sites(("localhost:5000", "registry.example.com"))
PULL = Access("repository", "library/app", frozenset({"pull"}))


@dataclass(frozen=True)
class World:
    """An issuer, a verifier that believes it, and a stranger with a key of their own."""

    pair: Pair
    stranger: Pair
    issuer: Issuer
    verifier: Verifier

    def claims(self, **changes: object) -> dict[str, object]:
        """Claims that are believed, but for `changes`; None takes one away."""
        clock = int(NOW.timestamp())
        claims: dict[str, object] = {
            "iss": "troth", "sub": "alice", "aud": "registry", "exp": clock + 300, "nbf": clock, "iat": clock,
            "jti": "1", "access": [{"type": "repository", "name": "library/app", "actions": ["pull"]}],
        }  # fmt: skip
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def kid(self, pair: Pair | None = None) -> str:
        return key_id(public_key(pair or self.pair))

    def signed(self, pair: Pair, claims: dict[str, object], **header: object) -> str:
        """A token signed by `pair`, with any header."""
        key = serialization.load_pem_private_key(pair.key_pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": self.kid(), **header})


@pytest.fixture(scope="module")
def world() -> World:
    pair, stranger = self_signed("tokens", NOW), self_signed("tokens", NOW)
    issuer = Issuer(pair.key_pem, pair.certificate_pem, "troth", "registry")
    return World(pair, stranger, issuer, Verifier(pair.certificate_pem, "troth", "registry", SITES))


def public_key(pair: Pair) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_certificate(pair.certificate_pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def forge(header: dict[str, object], claims: dict[str, object], sign: Callable[[bytes], bytes]) -> str:
    """A token put together by hand, as an attacker does it."""
    body = b".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return (body + b"." + encode(sign(body))).decode()


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def refuses(world: World, token: str, why: str, now: datetime = NOW) -> None:
    with pytest.raises(UnauthorizedError, match=why) as caught:
        world.verifier.verify(token, now)
    assert token not in str(caught.value)


# Scopes


def test_a_scope_is_split_at_its_first_and_last_colon() -> None:
    """AUTH-A04, R6.4"""
    assert parse_scopes(["repository:localhost:5000/library/app:push,pull"]) == [
        Access("repository", "localhost:5000/library/app", frozenset({"pull", "push"}))
    ]


def test_scopes_repeat_and_share_a_string() -> None:
    """AUTH-A04"""
    asked = parse_scopes(["repository:a:pull  repository:b:*", "", "registry:catalog:*"])
    assert [format_scope(each) for each in asked] == ["repository:a:pull", "repository:b:*", "registry:catalog:*"]


def test_a_scope_can_have_a_class_and_no_actions() -> None:
    """R6.4."""
    assert parse_scopes(["repository(plugin):x/y:"]) == [Access("repository", "x/y", frozenset(), "plugin")]


def test_the_order_of_actions_means_nothing() -> None:
    """AUTH-A04"""
    assert parse_scopes(["repository:a:pull,push"]) == parse_scopes(["repository:a:push,pull"])


@pytest.mark.parametrize(
    "scope",
    [
        "repository", "repository:a", ":a:pull", "repository::pull", "REPOSITORY:a:pull", "repository(:a:pull",
        "repository():a:pull", "repository:a:Pull", "repository:a:pull,", "repository:a:**", "repository:a\tb:pull",
        "repository:a\x00:pull", "repository:a\n:pull", "repository:a:pull\u2028",
    ],
)  # fmt: skip
def test_a_malformed_scope_is_refused(scope: str) -> None:
    with pytest.raises(InvalidError, match="type:name:action"):
        parse_scopes([scope])


def test_nobody_asks_for_too_much_at_once() -> None:
    with pytest.raises(InvalidError, match="more than"):
        parse_scopes(["a:b:c"] * (MAX_SCOPES + 1))
    with pytest.raises(InvalidError, match="more than"):
        parse_scopes([" ".join(["a:b:c"] * (MAX_SCOPES + 1))])
    with pytest.raises(InvalidError, match="more than"):
        parse_scopes(["repository:" + "a" * MAX_SCOPE_CHARACTERS + ":pull"])


def test_the_longest_token_fits_into_a_header(world: World) -> None:
    scope = f"repository:{'a' * (MAX_SCOPE_CHARACTERS // MAX_SCOPES - 28)}:pull,push,delete"
    token = world.issuer.issue("a" * 64, parse_scopes([scope] * MAX_SCOPES), NOW)
    assert len("Authorization: Bearer " + token) < 8190  # what gunicorn takes


words = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
accesses = st.builds(
    Access, words, names, st.frozensets(st.from_regex(r"[a-z]{1,6}|\*", fullmatch=True)), st.just("") | words
)


@given(accesses)
def test_a_scope_that_was_written_is_read_back(access: Access) -> None:
    assert parse_scopes([format_scope(access)]) == [access]


@given(st.lists(st.text() | st.text(":(),*abrepositorypull/5", max_size=40), max_size=5))
def test_any_text_is_scopes_or_an_invalid_error(text: list[str]) -> None:
    try:
        asked = parse_scopes(text)
    except InvalidError:
        return
    assert parse_scopes(map(format_scope, asked)) == asked


# Sites


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("library/app", "library/app"),
        ("localhost:5000/library/app", "library/app"),
        ("LocalHost:5000/library/app", "library/app"),
        ("registry.example.com/a", "a"),
        ("localhost/library/app", "localhost/library/app"),
        ("localhost:5001/library/app", "localhost:5001/library/app"),
        ("localhost:5000/localhost:5000/app", "localhost:5000/app"),
        ("localhost:5000", "localhost:5000"),
        ("localhost:5000/", "localhost:5000/"),
        ("evil.example.com/localhost:5000/app", "evil.example.com/localhost:5000/app"),
        ("localhost:5000.evil/app", "localhost:5000.evil/app"),
    ],
)
def test_only_a_host_of_ours_is_cut_off_and_only_once(name: str, repository: str) -> None:
    """AUTH-A04"""
    assert SITES.repository(name) == repository


def test_case_counts_in_the_repository() -> None:
    assert SITES.repository("LOCALHOST:5000/Library/App") == "Library/App"


# What is believed


def test_an_issued_token_is_believed(world: World) -> None:
    asked = [PULL, Access("repository", "x", frozenset({"pull", "push"}), "plugin")]
    grant = world.verifier.verify(world.issuer.issue("alice", asked, NOW), NOW)
    assert (grant.subject, list(grant.access)) == ("alice", asked)


def test_an_issued_token_has_the_claims_and_header_of_the_protocol(world: World) -> None:
    """R6.5, R6.6."""
    token = world.issuer.issue("alice", [PULL], NOW)
    claims = jwt.decode(token, options={"verify_signature": False})
    jti = claims.pop("jti")
    assert claims == {k: v for k, v in world.claims().items() if k != "jti"}
    assert jti != jwt.decode(world.issuer.issue("alice", [], NOW), options={"verify_signature": False})["jti"]
    header = jwt.get_unverified_header(token)
    der = x509.load_pem_x509_certificate(world.pair.certificate_pem).public_bytes(serialization.Encoding.DER)
    assert header == {
        "alg": "ES256", "typ": "JWT", "kid": world.kid(), "x5c": [base64.b64encode(der).decode()],
    }  # fmt: skip
    assert re.fullmatch(r"[A-Z2-7]{4}(:[A-Z2-7]{4}){11}", header["kid"])


def test_rights_are_for_one_name_and_action(world: World) -> None:
    """AUTH-A04, R6.7: a scope for another GUN, and a scope without the host."""
    push = Access("repository", "localhost:5000/library/app", frozenset({"push"}))
    grant = world.verifier.verify(world.issuer.issue("alice", [push], NOW), NOW)
    for name in ("library/app", "localhost:5000/library/app", "REGISTRY.example.com/library/app"):
        assert grant.allows("repository", name, "push")
        assert not grant.allows("repository", name, "pull")
        assert not grant.allows("registry", name, "push")
    for name in ("library/app2", "library", "app", "evil.example.com/library/app", "localhost:5001/library/app", ""):
        assert not grant.allows("repository", name, "push")


def test_a_star_grants_every_action_and_is_granted_by_a_star_only(world: World) -> None:
    star = world.verifier.verify(world.issuer.issue("a", [Access("repository", "x", frozenset({"*"}))], NOW), NOW)
    assert all(star.allows("repository", "x", action) for action in ("pull", "push", "delete", "*"))
    three = Access("repository", "x", frozenset({"pull", "push", "delete"}))
    assert not world.verifier.verify(world.issuer.issue("a", [three], NOW), NOW).allows("repository", "x", "*")


def test_a_star_is_no_wildcard_in_a_name(world: World) -> None:
    grant = world.verifier.verify(world.issuer.issue("a", [Access("repository", "*", frozenset({"*"}))], NOW), NOW)
    assert not grant.allows("repository", "library/app", "pull")


def test_null_lists_are_empty_as_go_writes_them(world: World) -> None:
    claims = world.claims(access=[{"type": "repository", "name": "a", "actions": None}])
    grant = world.verifier.verify(world.signed(world.pair, claims), NOW)
    assert grant.access == (Access("repository", "a", frozenset()),)
    token = world.signed(world.pair, world.claims() | {"access": None})
    assert world.verifier.verify(token, NOW).access == ()


def test_a_second_certificate_lets_the_key_change(world: World) -> None:
    both = Verifier(world.stranger.certificate_pem + world.pair.certificate_pem, "troth", "registry", SITES)
    assert both.verify(world.issuer.issue("alice", [], NOW), NOW).subject == "alice"


def test_an_rsa_certificate_takes_rs256_and_nothing_else(world: World) -> None:
    """AUTH-A01, R6.6: each key has one algorithm."""
    key = rsa.generate_private_key(65537, 2048)
    verifier = Verifier(certificate_for(key), "troth", "registry", SITES)
    headers = {"kid": key_id(key.public_key())}
    token = jwt.encode(world.claims(), key, algorithm="RS256", headers=headers)
    assert verifier.verify(token, NOW).subject == "alice"
    for algorithm in ("RS512", "PS256"):
        with pytest.raises(UnauthorizedError):
            verifier.verify(jwt.encode(world.claims(), key, algorithm=algorithm, headers=headers), NOW)


# What is not believed


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_no_signature_is_no_token(world: World, algorithm: str) -> None:
    """AUTH-A01, R6.7"""
    for signature in (b"", b"x"):
        header: dict[str, object] = {"alg": algorithm, "kid": world.kid()}
        token = forge(header, world.claims(), lambda _body, signature=signature: signature)  # type: ignore[misc]
        refuses(world, token, "signature|malformed")


def test_the_public_key_is_no_hmac_secret(world: World) -> None:
    """AUTH-A01"""
    public = public_key(world.pair)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    for secret in (
        public.public_bytes(serialization.Encoding.PEM, spki),
        public.public_bytes(serialization.Encoding.DER, spki),
        world.pair.certificate_pem,
    ):
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            header: dict[str, object] = {"alg": algorithm, "kid": world.kid()}
            token = forge(header, world.claims(), lambda body, s=secret, d=digest: hmac.digest(s, body, d))  # type: ignore[misc]
            refuses(world, token, "signature")


def test_a_key_in_the_header_is_not_looked_at(world: World) -> None:
    """AUTH-A02, R6.7: jwk, x5c, jku, x5u (CVE-2025-24976, CVE-2026-27962)."""
    point = public_key(world.stranger).public_numbers()
    jwk = {
        "kty": "EC", "crv": "P-256", "kid": world.kid(),
        "x": encode(point.x.to_bytes(32, "big")).decode(), "y": encode(point.y.to_bytes(32, "big")).decode(),
    }  # fmt: skip
    der = x509.load_pem_x509_certificate(world.stranger.certificate_pem).public_bytes(serialization.Encoding.DER)
    for injected in (
        {"jwk": jwk},
        {"x5c": [base64.b64encode(der).decode()]},
        {"jku": "https://evil.example.com/jwks.json"},
        {"x5u": "https://evil.example.com/cert.pem"},
    ):
        refuses(world, world.signed(world.stranger, world.claims(), **injected), "signature is not valid")
        own_kid = world.signed(world.stranger, world.claims(), kid=world.kid(world.stranger), **injected)
        refuses(world, own_kid, "unknown key")


def test_injected_keys_do_not_hurt_a_good_signature(world: World) -> None:
    token = world.signed(world.pair, world.claims(), x5c=["nonsense"], jwk="nonsense", jku=7)
    assert world.verifier.verify(token, NOW).subject == "alice"


@pytest.mark.parametrize("kid", [None, 7, "", ["x"], {"a": 1}, "../../dev/null", "' OR 1=1 --"])
def test_only_a_kid_of_ours_finds_a_key(world: World, kid: object) -> None:
    """AUTH-A02, R6.7"""
    header: dict[str, object] = {"alg": "ES256", "kid": kid} if kid is not None else {"alg": "ES256"}
    refuses(world, forge(header, world.claims(), lambda _body: b"x" * 64), "unknown key|malformed")


def test_a_foreign_key_signs_nothing(world: World) -> None:
    refuses(world, world.signed(world.stranger, world.claims()), "signature is not valid")


def test_a_changed_token_is_refused(world: World) -> None:
    header, claims, signature = world.issuer.issue("alice", [PULL], NOW).split(".")
    other = encode(json.dumps(world.claims(sub="admin")).encode()).decode()
    refuses(world, f"{header}.{other}.{signature}", "signature is not valid")
    refuses(world, f"{header}.{claims}.{encode(bytes(64)).decode()}", "signature is not valid")
    refuses(world, f"{header}.{claims}.", "signature|malformed")


def test_a_critical_extension_is_refused(world: World) -> None:
    refuses(world, world.signed(world.pair, world.claims(), crit=["exp"]), "malformed")


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "nbf", "iat"])
def test_a_claim_that_counts_must_be_there(world: World, name: str) -> None:
    """AUTH-A03"""
    refuses(world, world.signed(world.pair, world.claims(**{name: None})), "another|no usable claim")


@pytest.mark.parametrize("issuer", ["", "other", "troth ", "Troth"])
def test_another_issuer_is_refused(world: World, issuer: str) -> None:
    """AUTH-A03"""
    refuses(world, world.signed(world.pair, world.claims(iss=issuer)), "another issuer")


@pytest.mark.parametrize("audience", ["", "other", ["registry"], ["other", "registry"], {"registry": 1}, 7, True])
def test_another_audience_is_refused_and_so_is_a_list(world: World, audience: object) -> None:
    """AUTH-A03, AUTH-A05, R6.5: a list is refused even if we are in it, as distribution 2.8 does."""
    refuses(world, sign_raw(world, world.claims(aud=audience)), "another service")


def test_clocks_may_differ_by_a_minute_and_no_more(world: World) -> None:
    """AUTH-A03, R6.5"""
    token = world.issuer.issue("alice", [], NOW)
    for seconds in (-60, -1, 0, 299, 359.9):
        world.verifier.verify(token, NOW + timedelta(seconds=seconds))
    refuses(world, token, "expired", NOW + timedelta(seconds=360))
    refuses(world, token, "not valid yet", NOW - timedelta(seconds=61))


def test_tokens_from_the_future_are_refused(world: World) -> None:
    """AUTH-A03: nbf and iat each."""
    clock = int(NOW.timestamp())
    for name in ("nbf", "iat"):
        refuses(world, world.signed(world.pair, world.claims(**{name: clock + 61})), "not valid yet")
        world.verifier.verify(world.signed(world.pair, world.claims(**{name: clock + 60})), NOW)


@pytest.mark.parametrize("value", ["1", True, [], {}, float("inf"), float("nan"), 10**400, -(10**400), 2**60])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_that_is_none_is_refused(world: World, name: str, value: object) -> None:
    """AUTH-A03"""
    refuses(world, sign_raw(world, world.claims(**{name: value})), "no usable claim")


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 7}, {"sub": ["alice"]}, {"access": "x"}, {"access": {}}, {"access": ["x"]}, {"access": [[]]},
        {"access": [{}]}, {"access": [{"type": "repository", "name": "a", "actions": "pull"}]},
        {"access": [{"type": "repository", "name": 7, "actions": []}]},
        {"access": [{"type": "repository", "name": "a", "actions": [["pull"]]}]},
        {"access": [{"type": "repository", "name": "a", "actions": [], "class": 7}]},
    ],
)  # fmt: skip
def test_claims_of_the_wrong_shape_are_refused(world: World, claims: dict[str, object]) -> None:
    refuses(world, sign_raw(world, world.claims(**claims)), "malformed")


@pytest.mark.parametrize(
    "token",
    [
        "", ".", "..", "...", "a.b.c", "a.b", "e30.e30.e30", "é.é.é", "\ud800.a.b", "a b c", "x" * 20000,
        "bnVsbA.bnVsbA.bnVsbA", "W10.W10.W10", "IiI.IiI.IiI", "e30=.e30=.e30=", "\x00.\x00.\x00",
        encode(b'{"alg":' + b"[" * 5000).decode() + ".e30.e30",
        encode(b'{"alg":' + b"9" * 5000 + b"}").decode() + ".e30.e30",
        encode(b'{"alg":"ES256","kid":"\\ud800"}').decode() + ".e30.e30",
        encode(b'{"alg":"ES256"\xff}').decode() + ".e30.e30",
    ],
)  # fmt: skip
def test_a_malformed_token_is_refused(world: World, token: str) -> None:
    with pytest.raises(UnauthorizedError):
        world.verifier.verify(token, NOW)


def test_any_text_is_refused_with_our_error(world: World) -> None:
    header = encode(json.dumps({"alg": "ES256", "kid": world.kid()}).encode()).decode()
    parts = st.text("eyJhIjoi.-_=", max_size=30) | st.text(max_size=20) | st.just(header)

    @given(st.text() | st.lists(parts, min_size=2, max_size=5).map(".".join))
    def check(token: str) -> None:
        with pytest.raises(UnauthorizedError):
            world.verifier.verify(token, NOW)

    check()


def sign_raw(world: World, claims: dict[str, object]) -> str:
    """Sign claims that PyJWT would refuse to write."""
    key = serialization.load_pem_private_key(world.pair.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    algorithm = jwt.get_algorithm_by_name("ES256")
    return forge({"alg": "ES256", "kid": world.kid()}, claims, lambda body: algorithm.sign(body, key))


# Challenges


def test_a_challenge_says_where_to_get_which_token() -> None:
    assert challenge("https://h/auth/token", "troth", []) == 'Bearer realm="https://h/auth/token",service="troth"'
    two = [PULL, Access("repository", "b", frozenset({"push", "pull"}))]
    assert challenge("https://h/t", "troth", two, "insufficient_scope") == (
        'Bearer realm="https://h/t",service="troth",scope="repository:library/app:pull repository:b:pull,push"'
        ',error="insufficient_scope"'
    )


@given(st.text())
def test_no_name_breaks_out_of_a_challenge(name: str) -> None:
    value = challenge("https://h/t", "s", [Access("repository", name, frozenset({"pull"}))])
    value.encode("latin-1")
    assert not re.search(r"[\x00-\x1f\x7f]", value)
    assert re.fullmatch(r'Bearer realm="https://h/t",service="s",scope="(?:[^"\\]|\\.)*"', value)


# Settings


def certificate_for(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_keys_that_cannot_serve_are_refused_at_the_start(world: World) -> None:
    wide = ec.generate_private_key(ec.SECP384R1())
    weak = rsa.generate_private_key(65537, 1024)
    pair = world.pair
    for key, certificate in (
        (b"", pair.certificate_pem),
        (pair.certificate_pem, pair.certificate_pem),
        (pair.key_pem, b""),
        (pair.key_pem, pair.key_pem),
        (pair.key_pem, world.stranger.certificate_pem),
        (pem(wide), certificate_for(wide)),
        (pem(weak), certificate_for(weak)),
    ):
        with pytest.raises(SettingsError, match=r"token (key|certificate)"):
            Issuer(key, certificate, "troth", "registry")
    for certificate in (b"", pair.key_pem, certificate_for(wide), certificate_for(weak)):
        with pytest.raises(SettingsError, match="token certificate"):
            Verifier(certificate, "troth", "registry", SITES)
