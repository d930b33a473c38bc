# SPDX-License-Identifier: Apache-2.0
"""A trust collection for tests: real keys, real signatures, any version of any file, right or wrong.

    collection = Collection("localhost:5000/library/app", now)
    collection.publish({"v1": b"manifest"})       # root, targets, snapshot, timestamp
    collection.delegation("targets/alice")        # in the parent's payload; the parent must be written again
    collection.targets()                          # targets, version 2
    collection.targets({"v2": b"other"}, role="targets/alice")
    collection.rotate("root")
    collection.root()                             # version 2, signed by the old and the new key
    collection.files["root"], collection.history["root", 1]

Each call of `root`, `targets`, `snapshot` or `timestamp` writes the role's next version and returns its bytes.  What
no honest client would write is made by changing `payloads[role]` and calling `sign`, by `sign_fields` for a `signed`
object that has no payload, and by the corruptions at the end, which leave the signatures as they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tuf.api.metadata import Delegations, Role, Root, Snapshot, TargetFile, Targets, Timestamp

from trust import canonical
from trust.dialect import Payload, PrefixRole, to_notary
from trust.keys import METHODS, NotaryKey, NotarySigner, PrivateKey, certificate_key, generate_private
from trust.metadata import NotaryMetadata, describe, draft
from trust.names import ROOT, SNAPSHOT, TIMESTAMP, TOP_LEVEL, Gun, RoleName

P = TypeVar("P", Root, Targets, Snapshot, Timestamp)

LIFETIMES = {"root": 3650, "targets": 1095, "snapshot": 1095, "timestamp": 14}


class Collection:
    """One GUN's files and the private keys behind them.

    Args:
        gun: the name.
        now: when everything is made.
        algorithm: of the keys of targets, snapshot, timestamp and delegations; root keys are always ECDSA.

    Attributes:
        payloads: what the next `sign` of a role signs; change them freely.
        signers: who signs a role.
        files: the latest file of each role.
        history: every file by role and version.
    """

    def __init__(self, gun: str, now: datetime, *, algorithm: str = "ecdsa") -> None:
        self.gun = Gun(gun)
        self.now = now.replace(microsecond=0)
        self.algorithm = algorithm
        self.signers: dict[str, list[NotarySigner]] = {}
        self.files: dict[RoleName, bytes] = {}
        self.history: dict[tuple[str, int], bytes] = {}
        self._retired: list[NotarySigner] = []
        root = Root(expires=self._expiry(ROOT))
        root.version = 0  # the next one is 1; python-tuf checks this at birth only
        root.roles = {name: Role([], 1) for name in TOP_LEVEL}
        root.consistent_snapshot = False
        self.payloads: dict[str, Payload] = {"root": root}
        for role in TOP_LEVEL:
            self._replace(role, self._new_signers(role, 1), 1)

    @property
    def root_payload(self) -> Root:
        """The payload of the next root."""
        return self._payload("root", Root)

    def keys(self, role: str) -> list[NotaryKey]:
        """The public keys of `role`, as its delegator names them."""
        delegator: Root | Targets = self.root_payload
        if "/" in role:
            delegator = self._targets(role.rpartition("/")[0])
        delegated = delegator.get_delegated_role(role)
        return [key for keyid in delegated.keyids if isinstance(key := delegator.get_key(keyid), NotaryKey)]

    def hand_over(self, role: str, *keys: NotaryKey) -> None:
        """Let `role` be signed by keys that somebody else holds, as a server's; the next root says so."""
        self.signers[role] = []
        self._name_keys(role, keys, 1)

    def rotate(self, role: str, *, count: int = 1, threshold: int = 1, signers: Sequence[NotarySigner] = ()) -> None:
        """Give `role` new keys, or those of `signers`; the next root says so, and replaced root keys sign it, too."""
        if role == "root":
            self._retired = [*self.signers["root"]]
        self._replace(role, list(signers) or self._new_signers(role, count), threshold)

    def delegation(
        self,
        role: str,
        *,
        paths: Sequence[str] = ("",),
        count: int = 1,
        threshold: int = 1,
        signers: Sequence[NotarySigner] = (),
    ) -> list[NotarySigner]:
        """Delegate `role` to new keys, or to `signers`, in its parent's payload; write the parent afterwards."""
        parent = self._targets(role.rpartition("/")[0])
        signers = list(signers) or self._new_signers(role, count)
        if parent.delegations is None:
            parent.delegations = Delegations({}, {})
        assert parent.delegations.roles is not None
        keys = [signer.public_key for signer in signers]
        parent.delegations.keys |= {key.keyid: key for key in keys}
        parent.delegations.roles[role] = PrefixRole(
            role, [key.keyid for key in keys], threshold, terminating=False, paths=list(paths)
        )
        self.signers[role] = signers
        return signers

    def revoke(self, role: str) -> None:
        """Take a delegation out of its parent's payload; write the parent afterwards."""
        delegations = self._targets(role.rpartition("/")[0]).delegations
        assert delegations is not None
        assert delegations.roles is not None
        del delegations.roles[role]

    def root(self, *, version: int | None = None, expires: datetime | None = None) -> bytes:
        """The next root, signed by its own keys and by those that it replaces."""
        self._next(ROOT, self.root_payload, version, expires)
        data = self.sign(ROOT, signers=[*self.signers["root"], *self._retired])
        self._retired = []
        return self._keep(ROOT, data)

    def targets(
        self,
        contents: Mapping[str, bytes] | None = None,
        *,
        role: str = "targets",
        version: int | None = None,
        expires: datetime | None = None,
    ) -> bytes:
        """The next file of `role`, with targets for these contents added.

        Args:
            contents: by target name; None leaves the targets as they are.
            role: targets or a delegation.
            version: instead of the next one.
            expires: instead of three years from now.
        """
        payload = self._targets(role)
        for name, content in (contents or {}).items():
            payload.targets[name] = TargetFile(len(content), {"sha256": hashlib.sha256(content).hexdigest()}, name)
        self._next(RoleName(role), payload, version, expires)
        return self._keep(RoleName(role), self.sign(role))

    def snapshot(self, *, version: int | None = None, expires: datetime | None = None) -> bytes:
        """The next snapshot, over the latest root, targets and delegations."""
        payload = self._payload("snapshot", Snapshot)
        payload.meta = {
            role: describe(data) for role, data in self.files.items() if role not in (SNAPSHOT, TIMESTAMP)
        }
        self._next(SNAPSHOT, payload, version, expires)
        return self._keep(SNAPSHOT, self.sign("snapshot"))

    def timestamp(self, *, version: int | None = None, expires: datetime | None = None) -> bytes:
        """The next timestamp, over the latest snapshot."""
        payload = self._payload("timestamp", Timestamp)
        payload.snapshot_meta = describe(self.files[SNAPSHOT])
        self._next(TIMESTAMP, payload, version, expires)
        return self._keep(TIMESTAMP, self.sign("timestamp"))

    def publish(self, contents: Mapping[str, bytes] | None = None) -> dict[RoleName, bytes]:
        """Write root if there is none, then targets, snapshot and timestamp; returns all latest files."""
        if ROOT not in self.files:
            self.root()
        self.targets(contents)
        self.snapshot()
        self.timestamp()
        return dict(self.files)

    def sign(self, role: str, *, signers: Iterable[NotarySigner] | None = None) -> bytes:
        """The file for `payloads[role]` as it stands, signed by `signers` or the role's own; it is not kept."""
        meta: NotaryMetadata[Any] = draft(RoleName(role), self.payloads[role])
        for signer in self.signers[role] if signers is None else signers:
            meta.sign(signer, append=True)
        return meta.to_bytes()

    def fields(self, role: str) -> dict[str, Any]:
        """The `signed` object for `payloads[role]`, to be changed and given to `sign_fields`."""
        return to_notary(self.payloads[role])

    def sign_fields(self, role: str, fields: object, *, signers: Iterable[NotarySigner] | None = None) -> bytes:
        """A file with any `signed` object at all, well signed."""
        payload = canonical.encode(fields)
        signatures = [signed(signer, payload) for signer in (self.signers[role] if signers is None else signers)]
        return envelope(canonical.to_wire(payload), signatures)

    def _targets(self, role: str) -> Targets:
        return self._payload(role, Targets)

    def _payload(self, role: str, cls: type[P]) -> P:
        if role not in self.payloads:
            self.payloads[role] = cls(expires=self._expiry(RoleName(role)))
            self.payloads[role].version = 0
        payload = self.payloads[role]
        assert isinstance(payload, cls)
        return payload

    def _expiry(self, role: RoleName) -> datetime:
        return self.now + timedelta(days=LIFETIMES["targets" if role.is_targets else role])

    def _next(self, role: RoleName, payload: Payload, version: int | None, expires: datetime | None) -> None:
        payload.version = payload.version + 1 if version is None else version
        payload.expires = self._expiry(role) if expires is None else expires

    def _keep(self, role: RoleName, data: bytes) -> bytes:
        self.files[role] = data
        self.history[role, self.payloads[role].version] = data
        return data

    def _new_signers(self, role: str, count: int) -> list[NotarySigner]:
        if role == "root":
            return [root_signer(self.gun, self.now) for _ in range(count)]
        return [NotarySigner(generate_private(self.algorithm)) for _ in range(count)]

    def _replace(self, role: str, signers: list[NotarySigner], threshold: int) -> None:
        self.signers[role] = signers
        self._name_keys(role, [signer.public_key for signer in signers], threshold)

    def _name_keys(self, role: str, keys: Sequence[NotaryKey], threshold: int) -> None:
        root = self.root_payload
        if role != "root":  # the Go clients keep old root keys in the list, and drop others (NOTARY_V1 §6.4)
            for keyid in root.roles[role].keyids:
                root.keys.pop(keyid, None)
        root.keys |= {key.keyid: key for key in keys}
        root.roles[role] = Role([key.keyid for key in keys], threshold)


def root_signer(
    common_name: str,
    now: datetime,
    *,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
    days: int = 3650,
    digest: hashes.HashAlgorithm | None = None,
    authority: bool = False,
) -> NotarySigner:
    """A signer whose public key is a self-signed certificate, as Notary makes them (NOTARY_V1 §1.6).

    Args:
        common_name: the GUN, or a prefix of GUNs and `*`.
        now: when it becomes valid.
        key: the private key; a new one on P-256 by default.
        days: for how long from now; negative for one that ended so many days ago.
        digest: of the certificate's own signature; SHA-256 by default.
        authority: whether it claims to be a CA, which no root key may.
    """
    private = key or ec.generate_private_key(ec.SECP256R1())
    # No validation: GUNs are longer than the 64 characters that X.509 allows, and Go does not mind.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name, _validate=False)])
    begin, end = now if days > 0 else now - timedelta(days=3650), now + timedelta(days=days)
    usage = x509.KeyUsage(
        digital_signature=True, key_encipherment=True, content_commitment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(private, digest or hashes.SHA256())  # type: ignore[arg-type]  # any hash, for bad certificates
    )
    return NotarySigner(private, certificate_key(certificate.public_bytes(serialization.Encoding.PEM)))


def signer_of(key: PrivateKey, public: NotaryKey | None = None) -> NotarySigner:
    """A signer with `key`, which metadata names as `public`."""
    return NotarySigner(key, public)


def signed(signer: NotarySigner, payload: bytes) -> dict[str, str]:
    """One signature object over `payload`."""
    (entry,) = signer.sign(payload).to_list()
    return entry


def envelope(payload: bytes, signatures: Sequence[Mapping[str, str]]) -> bytes:
    """A file of these parts, as the Go programs write it."""
    encoded = json.dumps(list(signatures), separators=(",", ":")).encode()
    return b'{"signed":' + payload + b',"signatures":' + encoded + b"}"


# Corruptions.  Each takes a good file; the signatures stay as they were unless the name says otherwise.


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """`data` after `change` had its way with the decoded envelope."""
    content = json.loads(data)
    change(content)
    return json.dumps(content, separators=(",", ":")).encode()


def without_signatures(data: bytes) -> bytes:
    """Nobody signed."""
    return edited(data, lambda file: file.update(signatures=[]))


def with_a_broken_signature(data: bytes) -> bytes:
    """The first signature with one bit flipped."""

    def change(file: dict[str, Any]) -> None:
        raw = bytearray(base64.b64decode(file["signatures"][0]["sig"]))
        raw[0] ^= 1
        file["signatures"][0]["sig"] = base64.b64encode(raw).decode()

    return edited(data, change)


def with_a_signature_by(data: bytes, signer: NotarySigner) -> bytes:
    """The same content, well signed by somebody else."""
    signed_part = json.loads(data)["signed"]
    return edited(data, lambda file: file.update(signatures=[signed(signer, canonical.encode(signed_part))]))


def with_a_foreign_signature(data: bytes) -> bytes:
    """Signed by a key that nobody named, under an ID that somebody did."""

    def change(file: dict[str, Any]) -> None:
        stranger = NotarySigner(generate_private("ecdsa"))
        entry = signed(stranger, canonical.encode(file["signed"]))
        file["signatures"] = [entry | {"keyid": file["signatures"][0]["keyid"]}]

    return edited(data, change)


def with_another_method(data: bytes) -> bytes:
    """A signature that claims another algorithm than its key's."""
    other = {"ecdsa": "eddsa", "eddsa": "ecdsa", "rsapss": "rsapkcs1v15"}

    def change(file: dict[str, Any]) -> None:
        for entry in file["signatures"]:
            entry["method"] = other[entry["method"]]

    return edited(data, change)


def with_a_later_version(data: bytes) -> bytes:
    """Fast-forwarded after signing."""
    return edited(data, lambda file: file["signed"].update(version=file["signed"]["version"] + 1))


def with_a_later_expiry(data: bytes) -> bytes:
    """Kept alive after signing."""
    return edited(data, lambda file: file["signed"].update(expires="2099-01-01T00:00:00Z"))


def with_another_type(data: bytes) -> bytes:
    """One role's file given out as another's."""
    swapped = {"Root": "Targets", "Targets": "Root", "Snapshot": "Timestamp", "Timestamp": "Snapshot"}
    return edited(data, lambda file: file["signed"].update(_type=swapped[file["signed"]["_type"]]))


def with_an_added_member(data: bytes) -> bytes:
    """One more member in `signed`."""
    return edited(data, lambda file: file["signed"].update(extra=True))


def with_a_fraction(data: bytes) -> bytes:
    """A number that has no canonical form (NOTARY_V1 §1.3)."""
    return edited(data, lambda file: file["signed"].update(extra=1.5))


#: Changes after which no reader and no server may believe a file of any role, by name.
CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "no signatures": without_signatures,
    "broken signature": with_a_broken_signature,
    "foreign signature": with_a_foreign_signature,
    "method of another algorithm": with_another_method,
    "later version": with_a_later_version,
    "later expiry": with_a_later_expiry,
    "type of another role": with_another_type,
    "added member": with_an_added_member,
    "fraction": with_a_fraction,
}

# Changes of the envelope alone: every signature still holds (T15).


def with_an_unsigned_member(data: bytes) -> bytes:
    """A third member beside `signed` and `signatures`."""
    return data[:-1] + b',"extra":1}'


def with_a_duplicate_member(data: bytes) -> bytes:
    """`signed` twice: first garbage, then the real one, which is the one that counts to Go."""
    return b'{"signed":{"_type":"Nothing"},' + data[1:]


def with_trailing_garbage(data: bytes) -> bytes:
    """Something after the JSON value."""
    return data + b"garbage"


def with_a_byte_order_mark(data: bytes) -> bytes:
    """A BOM before it."""
    return b"\xef\xbb\xbf" + data


def pretty(data: bytes) -> bytes:
    """The same JSON in other bytes."""
    return json.dumps(json.loads(data), indent=2).encode() + b"\n"


def method_of(key: NotaryKey) -> str:
    """How signatures by `key` call their method."""
    return METHODS[key.keytype]
