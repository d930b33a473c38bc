# SPDX-License-Identifier: Apache-2.0
"""One metadata file: the bytes as they came, and python-tuf's model of what they say.

    meta = parse(RoleName("targets"), data)
    meta.signed.targets["v1"].hashes["sha256"]
    root.verify_delegate("targets", meta.signed_bytes, meta.signatures)      # python-tuf's threshold rule

What was signed is never made again to check it: `signed_bytes` is the canonical form of the decoded original, and
`to_bytes()` gives the file as it came.  Only metadata that we write (`draft`) is serialised from the model, in the
exact form of the Go programs (NOTARY_V1 §1.1-1.3), since old servers hash a re-serialisation (§3.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, Self, cast

from tuf.api.metadata import Metadata, MetaFile, Root, Signature, Snapshot, T, Targets, Timestamp

from trust import canonical
from trust.dialect import Payload, from_notary, to_notary
from trust.errors import FormatError
from trust.keys import MAX_SIGNATURES_PER_KEY, NotarySignature
from trust.names import RoleName

#: More signatures in one file than this are an attack: each could cost a verification.
MAX_SIGNATURES = 1000


class NotaryMetadata(Metadata[T]):
    """A metadata file of Notary v1.

    Attributes:
        role: which role it is of; the file itself names only its type.
        signed: the payload, in python-tuf's classes.
        signatures: by key ID, each a `NotarySignature`.

    Args:
        role: see the attribute, as for `signed` and `signatures`.
        signed: see there.
        signatures: see there.
        file: the file as it came; None for one that is new.
        canonical_bytes: what was signed of it.

    Examples:
        >>> releases = collection.roles[trust.RELEASES]
        >>> releases.role, releases.signed.version, len(releases.signatures)
        ('targets/releases', 1, 1)
    """

    def __init__(
        self,
        role: RoleName,
        signed: T,
        signatures: dict[str, Signature] | None = None,
        *,
        file: bytes | None = None,
        canonical_bytes: bytes | None = None,
    ) -> None:
        super().__init__(signed, signatures)  # type: ignore[arg-type]  # mypy expands T to its four values
        self.role = role
        self._file = file
        self._canonical = canonical_bytes

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that signatures are over: canonical JSON of the payload (NOTARY_V1 §1.1).

        Raises:
            FormatError: the payload has no canonical form (a fraction).

        Examples:
            >>> collection.timestamp.signed_bytes[:20]
            b'{"_type":"Timestamp"'
        """
        if self._canonical is not None:
            return self._canonical
        return canonical.encode(to_notary(self.signed))

    def to_bytes(self, serializer: object = None) -> bytes:
        """The file: as it came, or as the Go programs would write one that is new.

        Args:
            serializer: not used; python-tuf has it.

        Returns:
            The file's bytes.

        Raises:
            FormatError: a new one that cannot be written.

        Examples:
            >>> trust.parse(trust.ROOT, collection.root.to_bytes()).signed == collection.root.signed
            True
        """
        if self._file is not None:
            return self._file
        signatures: list[dict[str, str]] = []
        for signature in self.signatures.values():
            signatures += cast(NotarySignature, signature).to_list()
        encoded = json.dumps(signatures, separators=(",", ":")).encode()
        return b'{"signed":' + canonical.to_wire(self.signed_bytes) + b',"signatures":' + encoded + b"}"

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file: its name in by-hash requests (NOTARY_V1 §2.1).

        Examples:
            >>> root = server.fetch(image.gun, f"root.{collection.root.sha256}", limit=2**20)
            >>> root == collection.root.to_bytes()
            True
        """
        return hashlib.sha256(self.to_bytes()).hexdigest()


class Decoded:
    """The JSON of a metadata file, which takes long to read where there are thousands of targets.

    Attributes:
        data: the file.
        envelope: what it holds, as Go reads it.
    """

    def __init__(self, data: bytes, envelope: object) -> None:
        self.data = data
        self.envelope = envelope
        self._canonical: bytes | None = None

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Read a file.

        Raises:
            FormatError: it is not JSON.
        """
        return cls(data, canonical.decode(data))

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that signatures are over.

        Raises:
            FormatError: there are none (a fraction).
        """
        if self._canonical is None:
            self._canonical = canonical.encode(
                self.envelope.get("signed") if isinstance(self.envelope, dict) else None
            )
        return self._canonical


def draft(role: RoleName, signed: T) -> NotaryMetadata[T]:
    """A new, unsigned file with this payload; sign it with `Metadata.sign(signer, append=True)`."""
    return NotaryMetadata(role, signed)


def describe(data: bytes) -> MetaFile:
    """What a snapshot or timestamp says of the file `data`: length, sha256 and sha512 (NOTARY_V1 §1.2)."""
    return MetaFile.from_data(1, data, ["sha256", "sha512"])


def parse(role: RoleName, data: bytes) -> NotaryMetadata[Any]:
    """Read a metadata file; nothing is verified but its form (NOTARY_V1 §1.1-1.3).

    Args:
        role: what it must be: decides the type of `signed`.
        data: the file.

    Returns:
        The file's bytes, and python-tuf's model of what they say.

    Raises:
        FormatError: it is not a well-formed file of that role.

    Examples:
        >>> file = trust.parse(trust.ROOT, server.fetch(image.gun, "root", limit=2**20))
        >>> file.signed.version, file.signed.roles["root"].threshold
        (1, 1)
    """
    return parse_decoded(role, Decoded.of(data))


def parse_decoded(role: RoleName, decoded: Decoded) -> NotaryMetadata[Any]:
    """`parse` for a file whose JSON has been read already."""
    envelope = decoded.envelope
    if not isinstance(envelope, dict):
        raise FormatError(f"{role} metadata is not a JSON object")
    canonical_bytes = decoded.signed_bytes  # refuses fractions, before anything is made of them
    payload: Payload = from_notary(role, envelope.get("signed"))
    return NotaryMetadata(
        role,
        cast(Any, payload),  # the type follows from the role, which a type checker cannot see
        _signatures(envelope.get("signatures")),
        file=decoded.data,
        canonical_bytes=canonical_bytes,
    )


def parse_root(data: bytes) -> NotaryMetadata[Root]:
    """`parse` for a root file."""
    return parse(RoleName("root"), data)


def parse_targets(role: RoleName, data: bytes) -> NotaryMetadata[Targets]:
    """`parse` for targets or a delegation."""
    if not role.is_targets:
        raise FormatError(f"{role} is not a targets role")
    return parse(role, data)


def parse_snapshot(data: bytes) -> NotaryMetadata[Snapshot]:
    """`parse` for a snapshot file."""
    return parse(RoleName("snapshot"), data)


def parse_timestamp(data: bytes) -> NotaryMetadata[Timestamp]:
    """`parse` for a timestamp file."""
    return parse(RoleName("timestamp"), data)


def peek_version(data: bytes) -> int:
    """`signed.version` of a file that may otherwise be anything; 0 where it is absent (NOTARY_V1 §2.2).

    Raises:
        FormatError: not a JSON object, or the version is not an integer.
    """
    envelope = canonical.decode(data)
    if not isinstance(envelope, dict):
        raise FormatError("metadata is not a JSON object")
    signed = envelope.get("signed")
    version = signed.get("version", 0) if isinstance(signed, dict) else 0
    if (signed is not None and not isinstance(signed, dict)) or type(version) is not int:
        raise FormatError("metadata has no integer version")
    return version


def _signatures(value: object) -> dict[str, Signature]:
    if value is None:
        return {}
    if not isinstance(value, list):
        raise FormatError("signatures is not a list")
    if len(value) > MAX_SIGNATURES:
        raise FormatError(f"more than {MAX_SIGNATURES} signatures")
    candidates: dict[str, list[tuple[str, bytes]]] = {}
    for entry in value:
        try:
            keyid, method = entry["keyid"], entry["method"].lower()
            raw = base64.b64decode(entry["sig"] or "", validate=True)
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            raise FormatError("a signature is malformed") from error
        if not isinstance(keyid, str):
            raise FormatError("a signature is malformed")
        listed = candidates.setdefault(keyid, [])
        listed.append((method, raw))
        if len(listed) > MAX_SIGNATURES_PER_KEY:
            raise FormatError(f"more than {MAX_SIGNATURES_PER_KEY} signatures by one key")
    return {keyid: NotarySignature(keyid, tuple(listed)) for keyid, listed in candidates.items()}
