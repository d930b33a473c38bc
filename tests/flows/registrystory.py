# SPDX-License-Identifier: Apache-2.0
"""The story of an image in the registry, told by any client, with enforcement off and on.

A publisher pushes, copies and deletes; a consumer, who may only read, pulls.  One index for two platforms is there
for all clients, pushed once and, where enforcement is on, signed once with `troth sign`.  The outcome is a part of
docs/reference/registry-clients.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import trust
from flows.clients import PASSPHRASE, Troth
from flows.clienttable import Flow, Story, Table
from flows.images import write_index
from flows.registryclient import LackingError, RegistryClient, Stored, stored
from flows.registryclients import Skopeo
from flows.sites import CONSUMER, Site
from registry.accounts.admin import grant
from registry.accounts.policy import Level
from registry.policies import Mode, Namespace, Policies, Policy
from trust.names import RepositoryName

#: The tags of indexes and their children that are signed, where enforcement is on.
SIGNED = ("multi", "other-child-amd64")
WHOLE_MANIFEST = "It deletes the manifest that the tag stands for, so all tags of it go."


@dataclass(frozen=True)
class Indexes:
    """The indexes of a namespace, which all clients share.

    Attributes:
        multi: tagged `multi`, and signed where enforcement is on.
        images: those below it, by architecture; that for amd64 is also tagged `child`.
        other: tagged `other` and never signed; its image for amd64 is tagged `other-child` and signed.
        others: the images below that.
    """

    multi: Stored
    other: Stored
    images: Mapping[str, Stored] = field(default_factory=dict)
    others: Mapping[str, Stored] = field(default_factory=dict)


def open_namespace(site: Site, mode: str, folder: Path, publisher: Skopeo) -> Indexes:
    """Set the policy of a namespace, and put the indexes there.

    Args:
        site: the site.
        mode: `off` or `on`; also the namespace.
        folder: for what is made.
        publisher: skopeo, which brings them.
    """
    enforcement = Mode.ENFORCED if mode == "on" else Mode.DISABLED
    policies = Policies(Policy(Mode.ENFORCED), site.stack.registry)
    site.database.transact(lambda session: policies.change(session, Namespace(f"{mode}/"), mode=enforcement))
    name = f"{mode}/index"
    let_read(site, name)
    publisher.login()
    for tag, child in (("multi", "child"), ("other", "other-child")):
        images = write_index(layout := folder / tag, 20_000, f"{mode} {tag} {uuid4()}")
        publisher.publisher("copy", "--all", "--preserve-digests", f"oci:{layout}:1", publisher.at(f"{name}:{tag}"))
        for each in images:
            publisher.publisher(
                "copy", "--preserve-digests", f"oci:{layout}:{each}", publisher.at(f"{name}:{child}-{each}")
            )
    if mode == "on":
        sign_with_troth(site, folder / "signer", *(publisher.full(f"{name}:{tag}") for tag in SIGNED))
    children = {
        child: {each: stored(site, name, f"{child}-{each}") for each in ("amd64", "arm64")}
        for child in ("child", "other-child")
    }
    return Indexes(
        stored(site, name, "multi"), stored(site, name, "other"), children["child"], children["other-child"]
    )


def tell(column: str, client: RegistryClient, mode: str, indexes: Indexes, site: Site, table: Table) -> None:
    """Play it.

    Args:
        column: of the page.
        client: who plays.
        mode: `off` or `on`; also the namespace.
        indexes: of the namespace.
        site: where.
        table: gets the outcome.
    """
    name = f"{mode}/{column}"
    for repository in (name, f"{name}/copy"):
        let_read(site, repository)
    with table.story(mode, column, client=client.version, database=site.version) as story:
        with flow(story, "login with an access token"):
            client.login()
        (freely if mode == "off" else held)(client, name, site, story)
        platforms(client, f"{mode}/index", indexes, story)
        if mode == "on":
            closure(client, f"{mode}/index", indexes, story)


def freely(client: RegistryClient, name: str, site: Site, story: Story) -> None:
    """Nothing is asked of signatures."""
    with flow(story, "push") as found:
        client.push(f"{name}:1", f"{name} {uuid4()}")
        found.note(client.about_pushes)
    image = stored(site, name, "1")
    with flow(story, "pull, by tag and by digest"):
        client.pull(f"{name}:1", image)
        client.pull(f"{name}@{image.digest}", image)
    with flow(story, "copy under another tag"):
        client.copy(f"{name}:1", f"{name}:2")
        assert stored(site, name, "2") == image
    copy_elsewhere(client, name, site, story)
    with flow(story, "list tags"):
        assert sorted(client.tags(name)) == ["1", "2"]
    with flow(story, "delete a tag") as found:
        client.delete(f"{name}:2")
        assert client.tags(name) == []
        client.refused(f"{name}:1")
        found.note(WHOLE_MANIFEST)


def held(client: RegistryClient, name: str, site: Site, story: Story) -> None:
    """Only what is signed leaves, and it stays."""
    with flow(story, "push; nothing is pulled before it is signed, by tag or by digest") as found:
        client.push(f"{name}:1", f"{name} {uuid4()}")
        image = stored(site, name, "1")
        for reference in (f"{name}:1", f"{name}@{image.digest}"):
            assert_not_signed(client.refused(reference))
        found.note(client.about_pushes)
    sign(site, name, image, client.folder / "keys")
    with flow(story, "pull of what is signed, by tag and by digest"):
        client.pull(f"{name}:1", image)
        client.pull(f"{name}@{image.digest}", image)
    with flow(story, "copy under another tag, by which it is refused"):
        client.copy(f"{name}:1", f"{name}:2")
        assert stored(site, name, "2") == image
        assert_not_signed(client.refused(f"{name}:2"))
    copy_elsewhere(client, name, site, story)
    with flow(story, "pull of the copy in another repository is refused: it is not signed there"):
        assert_not_signed(client.refused(f"{name}/copy:1"))
    with flow(story, "list tags, the unsigned as well"):
        assert sorted(client.tags(name)) == ["1", "2"]
    with flow(story, "delete what is signed is refused, by the signed tag and by another"):
        for tag in ("1", "2"):
            assert "is signed, as 1 by targets" in client.delete_refused(f"{name}:{tag}")
        assert stored(site, name, "1") == image
    with flow(story, "delete what is not signed"):
        client.delete(f"{name}/copy:1")
        assert client.tags(f"{name}/copy") == []


def copy_elsewhere(client: RegistryClient, name: str, site: Site, story: Story) -> None:
    """Copy to another repository of the same registry."""
    with flow(story, "copy to another repository, the layers mounted and not sent again") as found:
        client.copy(f"{name}:1", f"{name}/copy:1")
        assert stored(site, f"{name}/copy", "1") == stored(site, name, "1")
        if client.no_mounts:
            found.falls_short(client.no_mounts)
        else:
            assert mounted(site, f"{name}/copy")


def platforms(client: RegistryClient, name: str, indexes: Indexes, story: Story) -> None:
    """An index is pulled for a platform, and whole."""
    with flow(story, "pull of an index for each platform"):
        for architecture, image in indexes.images.items():
            client.pull(f"{name}:multi", image, architecture)
    with flow(story, "pull of an index with all platforms"):
        client.pull_whole(f"{name}:multi", indexes.multi, indexes.images)


def closure(client: RegistryClient, name: str, indexes: Indexes, story: Story) -> None:
    """What the signature of an index covers, and what that of a child does not (docs/decisions/0015-closure.md)."""
    with flow(story, "pull of a child of a signed index: served by digest, refused by an unsigned tag of its own"):
        client.pull(f"{name}@{indexes.images['arm64'].digest}", indexes.images["arm64"])
        assert_not_signed(client.refused(f"{name}:child-arm64"))
    with flow(story, "a signed child of an unsigned index: served itself; neither its index nor its sibling is"):
        client.pull(f"{name}:other-child-amd64", indexes.others["amd64"])
        assert_not_signed(client.refused(f"{name}:other"))
        assert_not_signed(client.refused(f"{name}@{indexes.others['arm64'].digest}"))


@contextmanager
def flow(story: Story, name: str) -> Iterator[Flow]:
    """A flow, which may need what the client has no command for."""
    with story.flow(name) as found:
        try:
            yield found
        except LackingError as lacking:
            found.falls_short(str(lacking))


def assert_not_signed(said: str) -> None:
    """The client tells its user why."""
    assert "not signed" in said, said


def mounted(site: Site, repository: str) -> bool:
    """Whether a blob was mounted into a repository: then an upload is done as soon as it is begun."""
    return f" POST /v2/{repository}/blobs/uploads/ -> 201 " in site.stack.complaints


def let_read(site: Site, repository: str) -> None:
    """Let the consumer pull."""
    grant(site.database, CONSUMER, RepositoryName(repository), Level.READ)


def sign(site: Site, repository: str, image: Stored, folder: Path) -> None:
    """Sign an image as tag 1, in a new collection."""
    stack = site.stack
    target = trust.SetTarget(trust.TARGETS, "1", {"sha256": image.digest.removeprefix("sha256:")}, image.size)
    keys = trust.KeyFolder(folder, lambda _: PASSPHRASE)
    collection = trust.open_repository(
        f"{stack.registry}/{repository}", keys, ca=stack.ca, credentials=site.credentials("admin")
    )
    collection.publish(target, create=trust.Creation())


def sign_with_troth(site: Site, home: Path, *images: str) -> None:
    """Sign what tags stand for."""
    passphrases = {f"DOCKER_CONTENT_TRUST_{kind}_PASSPHRASE": PASSPHRASE for kind in ("ROOT", "REPOSITORY")}
    user, password = site.credentials("admin")
    options = ("--tlscacert", site.stack.ca, "--username", user, "--password-stdin", "--signer", "alice")
    Troth(home, passphrases)("sign", *options, *images, text=password)
