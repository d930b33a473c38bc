# SPDX-License-Identifier: Apache-2.0
"""troth's library: read and verify the trust data of Docker Content Trust (Notary v1).

    import trust

    target = trust.resolve("localhost:5000/library/app:1", ca="var/ca/ca.crt")
    print(target.digest, target.signers, target.expires)

`resolve` is the short way.  `open_reader` gives a `Reader`, whose `refresh` verifies all that a repository has and
returns a `Collection` of signed `Target`s.  What is not to be believed raises an `UntrustedError`.

`Repository` publishes: it stages edits (`SetTarget`, `Delegate`, …) and signs them with the keys of a `KeyFolder`,
which docker shares.  `Registry` resolves a tag to the digest to sign.
"""

from trust.cache import Cache, FileCache, MemoryCache
from trust.changes import (
    Delegate,
    RemoveDelegation,
    RemoveDelegationKeys,
    RemoveTarget,
    ReplaceKeys,
    SetTarget,
    Witness,
    add_signer,
)
from trust.collection import DOCKER_ROLES, Collection, Target
from trust.errors import (
    ConflictError,
    DelegationError,
    DeniedError,
    ExpiredError,
    FormatError,
    HashError,
    InvalidError,
    KeyIdError,
    NotFoundError,
    PinError,
    RollbackError,
    RotationError,
    SettingsError,
    SignatureError,
    SizeError,
    TrustError,
    UnauthorizedError,
    UnavailableError,
    UntrustedError,
)
from trust.images import Image, open_reader, resolve
from trust.keyfiles import PassphraseError
from trust.keyfolder import HeldKey, KeyFolder
from trust.metadata import NotaryMetadata, draft, parse
from trust.names import Digest, Gun, RepositoryName, RoleName, Tag
from trust.oci import Manifest, Registry
from trust.passphrases import first_of, from_environment, from_file, from_person
from trust.pins import Pins
from trust.reader import Reader, Source
from trust.remote import NotaryServer, RefusedPublishError
from trust.repository import Creation, MissingKeysError, Published, Repository
from trust.tags import RemoveSigner, RevokeTag, SignTag

__all__ = [
    "DOCKER_ROLES",
    "Cache",
    "Collection",
    "ConflictError",
    "Creation",
    "Delegate",
    "DelegationError",
    "DeniedError",
    "Digest",
    "ExpiredError",
    "FileCache",
    "FormatError",
    "Gun",
    "HashError",
    "HeldKey",
    "Image",
    "InvalidError",
    "KeyFolder",
    "KeyIdError",
    "Manifest",
    "MemoryCache",
    "MissingKeysError",
    "NotFoundError",
    "NotaryMetadata",
    "NotaryServer",
    "PassphraseError",
    "PinError",
    "Pins",
    "Published",
    "Reader",
    "RefusedPublishError",
    "Registry",
    "RemoveDelegation",
    "RemoveDelegationKeys",
    "RemoveSigner",
    "RemoveTarget",
    "ReplaceKeys",
    "Repository",
    "RepositoryName",
    "RevokeTag",
    "RoleName",
    "RollbackError",
    "RotationError",
    "SetTarget",
    "SettingsError",
    "SignTag",
    "SignatureError",
    "SizeError",
    "Source",
    "Tag",
    "Target",
    "TrustError",
    "UnauthorizedError",
    "UnavailableError",
    "UntrustedError",
    "Witness",
    "add_signer",
    "draft",
    "first_of",
    "from_environment",
    "from_file",
    "from_person",
    "open_reader",
    "parse",
    "resolve",
]
