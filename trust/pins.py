# SPDX-License-Identifier: Apache-2.0
"""Whom to believe first: root certificates and the pins that choose among them (NOTARY_V1 §1.6, §6.2).

    pins = Pins(certs={"registry.example.com/prod/*": ("3a1f…",)}, tofu=False)

A root's keys are certificates for the GUN.  Pins say which of them count: by ID for a GUN or a prefix of GUNs, or by
a CA that they must chain to.  Without a pin for the GUN, the first root seen is believed (trust on first use) unless
that is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from tuf.api.metadata import Root

from trust.errors import FormatError, InvalidError, PinError
from trust.keys import NotaryKey
from trust.names import Gun

#: How far ahead a new certificate's beginning may lie: clocks differ.
_CLOCK_SKEW = timedelta(days=1)
_SERVER_AUTH = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
#: What `cryptography` raises for the parts of a certificate that it reads late.
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_ANY_USAGE = x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@dataclass(frozen=True, slots=True)
class Pins:
    """Which root keys may be believed for which GUN (NOTARY_V1 §6.2).

    Attributes:
        certs: GUN, or prefix of GUNs followed by `*`, to IDs of root keys.  An ID may be the certificate's (as in
            root metadata) or the bare key's (as key files are named).
        ca: prefix of GUNs to a PEM bundle that the root's certificates must chain to.
        tofu: whether the first root of a GUN that no pin covers is believed.

    Raises:
        InvalidError: a bundle holds no certificates, or broken ones.

    Examples:
        >>> pins = trust.Pins(certs={"localhost:5000/library/*": ("3f1c…",)}, tofu=False)
        >>> trust.open_reader(image.gun, ca=ca, credentials=login, pins=pins).refresh().gun == image.gun
        True
        >>> trust.open_reader("localhost:5000/team/app", ca=ca, credentials=login, pins=pins).refresh()
        Traceback (most recent call last):
        trust.errors.NotFoundError: https://localhost:5000 does not have trust data for localhost:5000/team/app
    """

    certs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ca: Mapping[str, bytes] = field(default_factory=dict)
    tofu: bool = True

    def __post_init__(self) -> None:
        for prefix, bundle in self.ca.items():
            try:
                x509.load_pem_x509_certificates(bundle)
            except ValueError as error:
                raise InvalidError(f"the CA bundle pinned for {prefix!r} cannot be read: {error}") from error

    def select(
        self, gun: Gun, keys: Mapping[str, NotaryKey], now: datetime, *, first: bool, allow_expired: bool = False
    ) -> dict[str, NotaryKey]:
        """Those of a root's keys that the pins allow; readers and publishers ask this by themselves.

        Args:
            gun: whose root it is.
            keys: the root role's valid keys by ID.
            now: the time for CA path checks.
            first: whether no earlier root is known, so that only pins or TOFU can vouch for it.
            allow_expired: whether a certificate past its time is taken to a CA as at its end, as for a root that is
                being replaced.

        Returns:
            The keys that are allowed, by ID.

        Raises:
            PinError: none is allowed.

        Examples:
            >>> role = collection.root.signed.roles["root"]
            >>> known = {keyid: collection.root.signed.keys[keyid] for keyid in role.keyids}
            >>> trust.Pins(tofu=False).select(image.gun, known, datetime.now(UTC), first=True)
            Traceback (most recent call last):
            trust.errors.PinError: could not validate the path to a trusted root: ...
        """
        allowed = dict(keys)
        if (ids := self._ids(gun)) is not None:
            allowed = {i: key for i, key in keys.items() if i in ids or key.canonical_id in ids}
        elif (bundle := self._bundle(gun)) is not None:
            allowed = {i: key for i, key in keys.items() if _chains_to(bundle, key.certificates, now, allow_expired)}
        elif first and not self.tofu:
            raise PinError("could not validate the path to a trusted root: invalid trust pinning specified")
        if not allowed:
            raise PinError(
                "could not validate the path to a trusted root: "
                "unable to match any certificates to trust_pinning config"
            )
        return allowed

    def _ids(self, gun: Gun) -> tuple[str, ...] | None:
        if gun in self.certs:
            return self.certs[gun]
        prefixes = [p for p in self.certs if p.endswith("*") and gun.startswith(p[:-1])]
        return self.certs[max(prefixes, key=len)] if prefixes else None

    def _bundle(self, gun: Gun) -> bytes | None:
        prefixes = [p for p in self.ca if gun.startswith(p)]
        return self.ca[max(prefixes, key=len)] if prefixes else None


def root_keys(root: Root, gun: Gun, now: datetime, *, allow_expired: bool) -> dict[str, NotaryKey]:
    """The keys of the root role that may sign for `gun`, by ID (NOTARY_V1 §1.6).

    Bare keys and certificates for other names are passed over, as the reference does.

    Args:
        root: the payload.
        gun: the name that the certificates must be for.
        now: for their validity.
        allow_expired: whether certificates past their time count, as for a root that is being replaced.
    """
    found = {}
    for keyid in root.roles["root"].keyids:
        key = root.keys.get(keyid)
        if isinstance(key, NotaryKey) and _may_sign_root(key, gun, now, allow_expired=allow_expired):
            found[keyid] = key
    return found


def _may_sign_root(key: NotaryKey, gun: Gun, now: datetime, *, allow_expired: bool) -> bool:
    if not key.keytype.endswith("-x509") or key.public.count(b"-----BEGIN ") != key.public.count(
        b"-----BEGIN CERTIFICATE-----"
    ):
        return False
    try:
        leaf, *others = key.certificates
        key.public_key  # noqa: B018  # checks kind, curve and size
        if _is_ca(leaf) or not all(_is_ca(other) for other in others):
            return False
    except (FormatError, *_UNREADABLE):
        return False
    if not key.is_sound:
        return False
    if not allow_expired and (leaf.not_valid_after_utc < now or leaf.not_valid_before_utc > now + _CLOCK_SKEW):
        return False
    return _names(leaf, gun)


def _names(leaf: x509.Certificate, gun: Gun) -> bool:
    try:
        names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except _UNREADABLE:
        return False
    name = str(names[0].value) if names else ""
    return name == gun or (name.endswith("*") and gun.startswith(name.rstrip("*")))


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _chains_to(bundle: bytes, certificates: list[x509.Certificate], now: datetime, allow_expired: bool) -> bool:
    """Whether the leaf chains to the bundle through the intermediates beside it (§6.2 step 3)."""
    leaf, *intermediates = certificates
    if allow_expired:
        now = min(now, leaf.not_valid_after_utc)
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if _SERVER_AUTH not in usage and _ANY_USAGE not in usage:
            return False  # the reference verifies with Go's default usage
    except x509.ExtensionNotFound:
        pass
    except _UNREADABLE:
        return False
    authority = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _must_be_ca)
    verifier = (
        PolicyBuilder()
        .store(Store(x509.load_pem_x509_certificates(bundle)))
        .time(now)
        .extension_policies(ca_policy=authority, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, intermediates)
    except VerificationError:
        return False
    return True


def _must_be_ca(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("not a CA certificate")
