# SPDX-License-Identifier: Apache-2.0
"""troth's library: read, verify and sign the trust data of Docker Content Trust (Notary v1).

    import trust

    target = trust.resolve("localhost:5000/library/app:1", ca="var/ca/ca.crt")
    print(target.digest, target.signers, target.expires)

`resolve` is the short way.  `open_reader` gives a `Reader`, whose `refresh` verifies all that a repository has and
returns a `Collection` of signed `Target`s.  What is not to be believed raises an `UntrustedError`.

`Repository` publishes: it stages edits (`SetTarget`, `Delegate`, …) and signs them with the keys of a `KeyFolder`,
which docker shares.  `open_repository` is the short way to one.  `Registry` resolves a tag to the digest to sign.

    repository = trust.open_repository("localhost:5000/library/app", keys, ca="var/ca/ca.crt", credentials=login)
    repository.publish(trust.SignTag(keys, "1", manifest.digest, manifest.size))

All that a user needs is here: every type that a public name takes or gives is public, too.

`trust.standard` reads and publishes today's TUF 1.0 repositories by the same words.
"""

from trust.cache import Cache, FileCache, MemoryCache
from trust.changes import (
    Change,
    Delegate,
    Draft,
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
from trust.images import Image, open_reader, open_repository, resolve
from trust.keyfiles import PassphraseError
from trust.keyfolder import HeldKey, KeyFolder
from trust.keys import NotaryKey, NotarySignature, NotarySigner, PrivateKey, PublicKey, generate_private
from trust.keyuri import AskPin, find_key
from trust.metadata import NotaryMetadata, parse
from trust.names import (
    RELEASES,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Digest,
    Gun,
    RepositoryName,
    RoleName,
    Tag,
)
from trust.oci import Manifest, Registry
from trust.passphrases import Passphrases, Question, first_of, from_environment, from_file, from_person
from trust.pins import Pins
from trust.present import Present
from trust.publickeys import read_public_key
from trust.reader import Reader, Source
from trust.remote import NotaryServer, RefusedPublishError
from trust.repository import Creation, MissingKeysError, Published, Repository, Server
from trust.site import Paths
from trust.tags import RemoveSigner, RevokeTag, SignTag, signer_role

__all__ = [
    "DOCKER_ROLES",
    "RELEASES",
    "ROOT",
    "SNAPSHOT",
    "TARGETS",
    "TIMESTAMP",
    "AskPin",
    "Cache",
    "Change",
    "Collection",
    "ConflictError",
    "Creation",
    "Delegate",
    "DelegationError",
    "DeniedError",
    "Digest",
    "Draft",
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
    "NotaryKey",
    "NotaryMetadata",
    "NotaryServer",
    "NotarySignature",
    "NotarySigner",
    "PassphraseError",
    "Passphrases",
    "Paths",
    "PinError",
    "Pins",
    "Present",
    "PrivateKey",
    "PublicKey",
    "Published",
    "Question",
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
    "Server",
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
    "find_key",
    "first_of",
    "from_environment",
    "from_file",
    "from_person",
    "generate_private",
    "open_reader",
    "open_repository",
    "parse",
    "read_public_key",
    "resolve",
    "signer_role",
]
