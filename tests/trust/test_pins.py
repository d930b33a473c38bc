# SPDX-License-Identifier: Apache-2.0
"""Root keys are certificates for the GUN, and pins choose among them (NOTARY_V1 §1.6, §6.2)."""

from __future__ import annotations

import base64
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tuf.api.metadata import Role, Root

from collection import root_signer
from trust.errors import FormatError, InvalidError, PinError
from trust.keys import NotaryKey, NotarySigner, certificate_key, generate_private, public_key_of
from trust.names import Gun
from trust.pins import Pins, root_keys

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
GUN = Gun("localhost:5000/library/app")
DAY = timedelta(days=1)
SERVER, CODE = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CODE_SIGNING
ANY = x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


class Certificate:
    """A certificate and its key, self-signed or issued by another."""

    def __init__(
        self,
        name: str | None,
        issuer: Certificate | None = None,
        *,
        authority: bool = False,
        usages: tuple[x509.ObjectIdentifier, ...] = (),
        begin: datetime = NOW - DAY,
        end: datetime = NOW + 365 * DAY,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name is not None else [])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name if issuer else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        signed = builder.sign(issuer.key if issuer else self.key, hashes.SHA256())
        self.der = signed.public_bytes(serialization.Encoding.DER)
        self.pem = signed.public_bytes(serialization.Encoding.PEM)


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def root_of(*keys: NotaryKey) -> Root:
    root = Root()
    root.keys = {key.keyid: key for key in keys}
    root.roles["root"] = Role([key.keyid for key in keys], 1)
    return root


def counts(key: NotaryKey, *, gun: Gun = GUN, now: datetime = NOW, allow_expired: bool = False) -> bool:
    """Whether `key` may sign roots of `gun`."""
    return key.keyid in root_keys(root_of(key), gun, now, allow_expired=allow_expired)


def named(name: str) -> NotaryKey:
    return root_signer(name, NOW).public_key


@pytest.mark.parametrize(
    "name", [GUN, "*", "**", "localhost:5000/library/app*", "localhost:5000/library/*", "localhost:5000/lib*", "l***"]
)
def test_a_certificate_is_for_the_gun_or_for_a_prefix_of_it_before_a_star(name: str) -> None:
    assert counts(named(name))


@pytest.mark.parametrize(
    "name",
    [
        "localhost:5000/library/ap",
        "localhost:5000/library/app/",
        "localhost:5000/library/app2",
        "LOCALHOST:5000/library/app",
        "library/app",
        "localhost:5000/library/",
        "*app",
        "localhost:5000/*/app",
        "localhost:5000/library/app/*",
        "other*",
        " *",
        "root",
    ],
)
def test_a_certificate_for_another_name_is_passed_over(name: str) -> None:
    assert not counts(named(name))


def test_a_certificate_without_a_name_is_passed_over() -> None:
    assert not counts(certificate_key(Certificate(None).pem))


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP521R1())])
def test_certificates_may_hold_keys_on_other_curves(key: ec.EllipticCurvePrivateKey) -> None:
    assert counts(root_signer(GUN, NOW, key=key).public_key)


@pytest.mark.parametrize(("bits", "good"), [(2048, True), (2047, False), (1024, False)])
def test_rsa_keys_have_at_least_2048_bits(bits: int, good: bool) -> None:
    assert counts(root_signer(GUN, NOW, key=rsa.generate_private_key(65537, bits)).public_key) is good


def test_a_certificate_signed_with_sha1_is_passed_over() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert counts(root_signer(GUN, NOW, key=key).public_key)
    sha256 = bytes.fromhex("06092a864886f70d01010b")  # sha256WithRSAEncryption, which becomes sha1With…
    good = x509.load_pem_x509_certificate(root_signer(GUN, NOW, key=key).public_key.public)
    weak = good.public_bytes(serialization.Encoding.DER).replace(sha256, bytes.fromhex("06092a864886f70d010105"))
    assert isinstance(x509.load_der_x509_certificate(weak).signature_hash_algorithm, hashes.SHA1)
    assert not counts(certificate_key(pem(weak)))
    assert not counts(certificate_key(pem(weak)), allow_expired=True)


def test_bare_keys_in_the_root_role_are_passed_over() -> None:
    for algorithm in ("ecdsa", "ed25519"):
        assert not counts(public_key_of(generate_private(algorithm)))


def test_a_certificate_filed_as_a_bare_key_is_passed_over() -> None:
    good = named(GUN)
    assert not counts(NotaryKey.from_public("ecdsa", good.public))
    assert not counts(NotaryKey.from_public("rsa-x509", good.public))
    assert not counts(NotaryKey.from_public("ed25519-x509", good.public))


def test_a_key_that_the_root_role_does_not_list_is_not_one_of_its_keys() -> None:
    listed, other = named(GUN), named(GUN)
    root = root_of(listed)
    root.keys[other.keyid] = other
    assert list(root_keys(root, GUN, NOW, allow_expired=False)) == [listed.keyid]


# The chain in one key: one leaf, first, then authorities.


@cache
def chain() -> tuple[Certificate, Certificate, Certificate]:
    """Authority, intermediate, leaf."""
    authority = Certificate("CA", authority=True)
    intermediate = Certificate("intermediate", authority, authority=True)
    return authority, intermediate, Certificate(GUN, intermediate, usages=(SERVER,))


def test_authorities_may_follow_the_leaf() -> None:
    authority, intermediate, leaf = chain()
    assert counts(certificate_key(leaf.pem))
    assert counts(certificate_key(leaf.pem + intermediate.pem))
    assert counts(certificate_key(leaf.pem + intermediate.pem + authority.pem))


def test_the_leaf_comes_first_and_there_is_only_one() -> None:
    authority, intermediate, leaf = chain()
    other = Certificate(GUN)
    for text in (
        intermediate.pem + leaf.pem,
        authority.pem + intermediate.pem,
        leaf.pem + other.pem,
        leaf.pem + intermediate.pem + other.pem,
        leaf.pem + leaf.pem,
    ):
        assert not counts(certificate_key(text))


def test_an_authority_is_no_root_key() -> None:
    assert not counts(root_signer(GUN, NOW, authority=True).public_key)
    assert not counts(certificate_key(Certificate(GUN, authority=True).pem))


def test_a_certificate_without_basic_constraints_is_a_leaf() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, GUN)])
    bare = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
        .sign(key, hashes.SHA256())
    )
    assert counts(certificate_key(bare.public_bytes(serialization.Encoding.PEM)))


@pytest.mark.parametrize("label", ["EC PRIVATE KEY", "PUBLIC KEY", "X509 CRL", "TRUSTED CERTIFICATE"])
def test_any_other_block_beside_the_certificate_makes_it_no_root_key(label: str) -> None:
    good = named(GUN)
    block = f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()
    for text in (good.public + block, block + good.public):
        assert not counts(NotaryKey.from_public("ecdsa-x509", text))


@pytest.mark.parametrize("text", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_is_passed_over(text: bytes) -> None:
    assert not counts(NotaryKey.from_public("ecdsa-x509", text))


# Certificates whose parts cannot be read: none of them may end in a traceback.


def patched(old: str, new: str, *, der: bytes | None = None) -> NotaryKey:
    """A certificate for the GUN in which one string of bytes is replaced everywhere."""
    der = der or Certificate(GUN, usages=(CODE,)).der
    assert bytes.fromhex(old) in der
    return certificate_key(pem(der.replace(bytes.fromhex(old), bytes.fromhex(new))))


def test_a_certificate_with_an_unknown_signature_algorithm_is_passed_over() -> None:
    key = patched("06082a8648ce3d040302", "06082a8648ce3d040309")  # ecdsa-with-SHA256 to nothing
    assert not counts(key)
    assert not counts(key, allow_expired=True)


def test_a_certificate_for_an_unknown_curve_is_no_key() -> None:
    der = Certificate(GUN).der.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030119"))
    key = NotaryKey.from_public("ecdsa-x509", pem(der))
    assert not counts(key)
    for member in ("certificates", "canonical_id", "public_key", "material"):
        with pytest.raises(FormatError):
            getattr(key, member)


def test_a_certificate_with_a_serial_number_of_old_gives_no_warning() -> None:
    certificate = x509.load_der_x509_certificate(Certificate(GUN).der)
    serial = certificate.serial_number.to_bytes(20, "big")
    zero = certificate.public_bytes(serialization.Encoding.DER).replace(serial, bytes(20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NotaryKey.from_public("ecdsa-x509", pem(zero))
        counts(NotaryKey.from_public("ecdsa-x509", pem(zero)))


def test_a_certificate_with_an_extension_twice_is_passed_over() -> None:
    assert not counts(patched("0603551d25", "0603551d13"))  # extended key usage becomes basic constraints


def test_a_certificate_with_broken_extensions_is_passed_over() -> None:
    constraints = "0603551d130101ff0402"
    assert not counts(patched(constraints + "3000", constraints + "3001"))
    assert not counts(patched("0603551d25", "0603551d11"))  # extended key usage becomes alternative names


def test_a_certificate_with_a_broken_name_is_passed_over() -> None:
    encoded = GUN.encode().hex()
    assert not counts(patched(f"0c{len(GUN):02x}{encoded}", f"0c{len(GUN):02x}ff{encoded[2:]}"))


# Validity.


def dated(begin: datetime, end: datetime) -> NotaryKey:
    return certificate_key(Certificate(GUN, begin=begin, end=end).pem)


def test_an_expired_certificate_counts_only_for_a_root_that_is_being_replaced() -> None:
    key = dated(NOW - 3 * DAY, NOW - DAY)
    assert not counts(key)
    assert counts(key, allow_expired=True)


def test_a_certificate_counts_until_its_last_second() -> None:
    key = dated(NOW - DAY, NOW)
    assert counts(key, now=NOW)
    assert not counts(key, now=NOW + timedelta(seconds=1))


def test_a_new_certificate_may_begin_a_day_ahead_and_no_more() -> None:
    key = dated(NOW, NOW + 30 * DAY)
    assert counts(key, now=NOW - DAY)
    assert not counts(key, now=NOW - DAY - timedelta(seconds=1))
    assert counts(key, now=NOW - 20 * DAY, allow_expired=True)


def test_a_certificate_that_ends_before_it_begins_is_passed_over() -> None:
    begin, end = b"261123080000Z", b"271124080000Z"
    der = Certificate(GUN).der
    assert begin in der
    assert end in der
    turned = der.replace(begin + b"\x17\r" + end, end + b"\x17\r" + begin)  # both are UTCTime, 13 bytes long
    assert turned != der
    same = der.replace(end, begin)
    for text in (turned, same):
        for allow_expired in (False, True):
            assert not counts(certificate_key(pem(text)), now=NOW - DAY, allow_expired=allow_expired)


# Pins.

ONE, TWO = named("*"), named("*")
KEYS = {key.keyid: key for key in (ONE, TWO)}


def selected(
    pins: Pins, *, gun: str = GUN, first: bool = True, keys: dict[str, NotaryKey] | None = None
) -> list[str]:
    return list(pins.select(Gun(gun), KEYS if keys is None else keys, NOW, first=first))


def test_without_pins_the_first_root_is_believed() -> None:
    assert selected(Pins()) == list(KEYS)
    assert selected(Pins(certs={"other/gun": ("x",)}, ca={"other/": chain()[0].pem})) == list(KEYS)


def test_a_pin_lets_through_only_the_keys_that_it_lists() -> None:
    assert selected(Pins(certs={GUN: (ONE.keyid,)})) == [ONE.keyid]
    assert selected(Pins(certs={GUN: (TWO.keyid, "unknown")})) == [TWO.keyid]
    assert selected(Pins(certs={GUN: (TWO.keyid, ONE.keyid)})) == list(KEYS)


def test_a_pin_may_be_the_id_of_the_certificate_or_of_its_key() -> None:
    assert ONE.canonical_id != ONE.keyid
    assert selected(Pins(certs={GUN: (ONE.canonical_id,)})) == [ONE.keyid]


def test_a_root_without_a_pinned_key_is_refused() -> None:
    for first in (True, False):
        for ids in (("unknown",), (), (ONE.keyid.upper(),), (ONE.keyid[:-1],)):
            with pytest.raises(PinError, match="unable to match any certificates to trust_pinning config"):
                selected(Pins(certs={GUN: ids}), first=first)


def test_a_pin_binds_every_later_root_too() -> None:
    with pytest.raises(PinError):
        selected(Pins(certs={GUN: (ONE.keyid,)}), first=False, keys={TWO.keyid: TWO})


def test_an_exact_pin_wins_over_prefixes_and_the_longest_prefix_over_others() -> None:
    certs: dict[str, tuple[str, ...]] = {"localhost:5000/*": (ONE.keyid,), "localhost:5000/library/*": (TWO.keyid,)}
    assert selected(Pins(certs=certs)) == [TWO.keyid]
    assert selected(Pins(certs=dict(reversed(certs.items())))) == [TWO.keyid]
    assert selected(Pins(certs=certs), gun="localhost:5000/other") == [ONE.keyid]
    assert selected(Pins(certs=certs | {GUN: (ONE.keyid,)})) == [ONE.keyid]
    assert selected(Pins(certs=certs | {"*": ("x",)})) == [TWO.keyid]


def test_a_prefix_counts_only_before_a_star() -> None:
    assert selected(Pins(certs={"localhost:5000/library/": ("x",)})) == list(KEYS)
    assert selected(Pins(certs={GUN + "*": (ONE.keyid,)})) == [ONE.keyid]
    assert selected(Pins(certs={"library/app*": ("x",), "LOCALHOST*": ("x",)})) == list(KEYS)
    assert selected(Pins(certs={"*": (ONE.keyid,)})) == [ONE.keyid]


def test_without_tofu_a_first_root_needs_a_pin_and_a_later_one_does_not() -> None:
    with pytest.raises(PinError, match="invalid trust pinning specified"):
        selected(Pins(tofu=False))
    assert selected(Pins(tofu=False), first=False) == list(KEYS)
    assert selected(Pins(tofu=False, certs={GUN: (ONE.keyid,)})) == [ONE.keyid]


# Pinned authorities.


def by_authority(leaf: Certificate, *beside: Certificate, ca: bytes, now: datetime = NOW, late: bool = False) -> bool:
    key = certificate_key(b"".join(certificate.pem for certificate in (leaf, *beside)))
    try:
        return bool(Pins(ca={"localhost:5000/": ca}).select(GUN, {"id": key}, now, first=True, allow_expired=late))
    except PinError:
        return False


def test_a_certificate_must_chain_to_the_pinned_authority() -> None:
    authority, intermediate, leaf = chain()
    assert by_authority(leaf, intermediate, ca=authority.pem)
    assert by_authority(leaf, intermediate, authority, ca=authority.pem)
    assert by_authority(Certificate(GUN, authority, usages=(SERVER,)), ca=authority.pem)
    assert not by_authority(leaf, ca=authority.pem)
    assert not by_authority(Certificate(GUN, usages=(SERVER,)), ca=authority.pem)


def test_a_foreign_authority_with_the_same_name_is_foreign() -> None:
    _, intermediate, leaf = chain()
    foreign = Certificate("CA", authority=True)
    assert not by_authority(leaf, intermediate, ca=foreign.pem)
    assert not by_authority(leaf, intermediate, foreign, ca=foreign.pem)
    own = Certificate(GUN, foreign, usages=(SERVER,))
    assert not by_authority(own, foreign, ca=chain()[0].pem)


def test_any_authority_of_the_bundle_will_do() -> None:
    authority, intermediate, leaf = chain()
    assert by_authority(leaf, intermediate, ca=Certificate("other", authority=True).pem + authority.pem)


@pytest.mark.parametrize(("usages", "good"), [((SERVER,), True), ((CODE, SERVER), True), ((ANY,), True), ((), True),
                                              ((CODE,), False)])  # fmt: skip
def test_go_wants_a_certificate_for_servers_where_an_authority_is_pinned(
    usages: tuple[x509.ObjectIdentifier, ...], good: bool
) -> None:
    authority = chain()[0]
    assert by_authority(Certificate(GUN, authority, usages=usages), ca=authority.pem) is good


def test_an_expired_intermediate_breaks_the_chain() -> None:
    authority = Certificate("CA", authority=True, begin=NOW - 9 * DAY)
    intermediate = Certificate("intermediate", authority, authority=True, begin=NOW - 3 * DAY, end=NOW - DAY)
    leaf = Certificate(GUN, intermediate, usages=(SERVER,), begin=NOW - 2 * DAY)
    assert not by_authority(leaf, intermediate, ca=authority.pem)
    assert by_authority(leaf, intermediate, ca=authority.pem, now=NOW - DAY - timedelta(hours=1))
    assert not by_authority(leaf, intermediate, ca=authority.pem, late=True)


def test_an_expired_authority_breaks_the_chain() -> None:
    authority = Certificate("CA", authority=True, begin=NOW - 3 * DAY, end=NOW - DAY)
    assert not by_authority(Certificate(GUN, authority, usages=(SERVER,)), ca=authority.pem)


def test_an_expired_leaf_chains_only_for_a_root_that_is_being_replaced() -> None:
    authority = Certificate("CA", authority=True, begin=NOW - 9 * DAY)
    leaf = Certificate(GUN, authority, usages=(SERVER,), begin=NOW - 3 * DAY, end=NOW - DAY)
    assert not by_authority(leaf, ca=authority.pem)
    assert by_authority(leaf, ca=authority.pem, late=True)
    assert not by_authority(leaf, ca=Certificate("CA", authority=True).pem, late=True)


def test_what_is_no_authority_cannot_issue_a_root_key() -> None:
    authority = chain()[0]
    impostor = Certificate("impostor", authority, usages=(SERVER,))
    leaf = Certificate(GUN, impostor, usages=(SERVER,))
    assert not by_authority(leaf, impostor, ca=authority.pem)
    assert not by_authority(Certificate(GUN, impostor, usages=(SERVER,)), ca=impostor.pem)


def test_only_the_keys_that_chain_count() -> None:
    authority, intermediate, leaf = chain()
    good = certificate_key(leaf.pem + intermediate.pem)
    pins = Pins(ca={"": authority.pem})
    assert selected(pins, keys={good.keyid: good, ONE.keyid: ONE}) == [good.keyid]


def test_the_longest_prefix_of_authorities_wins_and_needs_no_star() -> None:
    authority, intermediate, leaf = chain()
    key = certificate_key(leaf.pem + intermediate.pem)
    other = Certificate("other", authority=True).pem
    assert selected(Pins(ca={"local": other, "localhost:5000/lib": authority.pem}), keys={"id": key}) == ["id"]
    with pytest.raises(PinError):
        selected(Pins(ca={"local": authority.pem, "localhost:5000/lib": other}), keys={"id": key})
    assert selected(Pins(ca={"local*": other}), keys={"id": key}) == ["id"]  # a star is no prefix here


def test_a_pinned_key_wins_over_a_pinned_authority() -> None:
    authority = chain()[0]
    assert selected(Pins(certs={GUN: (ONE.keyid,)}, ca={"": authority.pem})) == [ONE.keyid]
    assert selected(Pins(certs={"localhost*": (ONE.keyid,)}, ca={GUN: authority.pem})) == [ONE.keyid]


def test_a_pinned_authority_needs_no_tofu() -> None:
    authority, intermediate, leaf = chain()
    key = certificate_key(leaf.pem + intermediate.pem)
    assert selected(Pins(ca={"": authority.pem}, tofu=False), keys={"id": key}) == ["id"]


@pytest.mark.parametrize(
    "bundle", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_that_cannot_be_read_is_refused_when_it_is_set(bundle: bytes) -> None:
    with pytest.raises(InvalidError, match="CA bundle pinned for 'reg/'"):
        Pins(ca={"reg/": bundle})


def test_a_signer_signs_as_the_certificate_that_names_its_key() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    signer = root_signer(GUN, NOW, key=private)
    assert signer.public_key.canonical_id == NotarySigner(private).public_key.keyid
    signer.public_key.verify_signature(signer.sign(b"payload"), b"payload")
