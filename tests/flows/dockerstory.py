# SPDX-License-Identifier: Apache-2.0
"""The story of an image and its signers, told by a docker CLI.

The owner of a repository lets Alice and Bob sign; a consumer pulls.  Each of them has a home, keys, a trust cache
and a login of their own, and all share one engine.  The outcome is a part of docs/reference/clients.md.
What the CLI does is in NOTARY_V1 §5.2, §6.6, §6.7.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flows.clients import DOCKERS, Docker, Troth
from flows.clienttable import Story, Table
from flows.engine import Engine
from flows.images import write_image
from flows.sites import CONSUMER, DELEGATE, Site

REFUSED = re.compile("denied|unauthorized|authentication required|not authorized")
SIGNER_REMOVE = (
    "The client's own fault: it ends with status 0, and nothing was sent; the signer stays, and can go on signing. "
    "`troth signer remove`, run in its place, removed the signer."
)
LAST_SIGNER = (
    "Released tags then have no good signature, pulls are refused with 503, and docker cannot sign them again: it "
    "begins `targets/releases` anew with version 1, which is older than what the server has. `troth sign` goes on."
)


@dataclass(frozen=True)
class Cast:
    """Who takes part.

    Attributes:
        registry: its host and port.
        authority: the CA certificate.
        name: the repository, with the registry's host.
        images: where images are made.
    """

    registry: str
    authority: Path
    name: str
    images: Path
    owner: Docker
    alice: Docker
    bob: Docker
    consumer: Docker

    def load(self, image: str, seed: str) -> None:
        """Put an image into the engine."""
        self.owner("load", "--input", write_image(self.images / "image.tar", image, 100_000, seed))

    def push(self, image: str, seed: str) -> str:
        """Push a new image without signing it, and return its digest."""
        self.load(image, seed)
        pushed = re.search(r"digest: (sha256:[0-9a-f]{64}) size", self.owner("push", image))
        assert pushed
        return pushed[1]

    def sign(self, signer: Docker, tag: str) -> None:
        """Sign the image of tag 2 under another tag: signing a tag that is signed already changes nothing."""
        self.owner("tag", f"{self.name}:2", f"{self.name}:{tag}")
        signer("trust", "sign", f"{self.name}:{tag}")

    def pull(self, image: str, *, trusting: bool = False) -> str:
        """Pull as the consumer what the engine has no tag for."""
        client = self.consumer.trusting if trusting else self.consumer
        client("image", "rm", image)
        return client("pull", image)


def tell(cli: str, site: Site, table: Table, engine: Engine, folder: Path) -> None:
    """Play it.

    Args:
        cli: which of `DOCKERS`.
        site: where; the repository is used by nobody else.
        table: gets the outcome.
        engine: of all.
        folder: gets everybody's homes, all fresh.
    """
    name = f"docker/{cli}"
    site.grant(name)
    people = [Docker(DOCKERS[cli], folder / person, engine.host) for person in ("owner", "alice", "bob", "consumer")]
    cast = Cast(site.stack.registry, site.stack.ca, f"{site.stack.registry}/{name}", folder, *people)
    with table.story(cli, site.kind, client=version(cast.owner), database=site.version) as story:
        logins(cast, site, story)
        digest = the_first_signature(cast, story)
        consumers(cast, story, digest)
        more_signatures(cast, story)
        removals(cast, story)
        a_trusting_push(cast, story)
        strangers(cast, story)


def version(docker: Docker) -> str:
    said = re.match(r"Docker version ([^ ,]+),", docker("--version"))
    assert said
    return said[1]


def assert_not_signed(said: str) -> None:
    assert "not signed" in said.lower()
    assert "docker trust sign" in said  # what would help


def logins(cast: Cast, site: Site, story: Story) -> None:
    with story.flow("`login`"):
        users = ((cast.owner, "admin"), (cast.alice, DELEGATE), (cast.bob, DELEGATE), (cast.consumer, CONSUMER))
        for docker, user in users:
            name, password = site.credentials(user)
            said = docker("login", cast.registry, "--username", name, "--password-stdin", text=password)
            assert "Login Succeeded" in said
    with story.flow("`login` with a wrong password is refused"):
        arguments = ("login", cast.registry, "--username", "admin", "--password-stdin")
        assert "unauthorized" in Docker(
            cast.owner.program, cast.images / "nobody", cast.owner.environment["DOCKER_HOST"]
        ).refused(*arguments, text="wrong password")


def the_first_signature(cast: Cast, story: Story) -> str:
    """Alice signs tag 1, and the owner pushes it; returns its digest."""
    owner, alice, name, image = cast.owner, cast.alice, cast.name, f"{cast.name}:1"
    with story.flow("`push`; nothing is pulled before it is signed, by tag or by digest"):
        digest = cast.push(image, f"{name} first")
        owner("image", "rm", image)
        for docker in (cast.consumer, owner):
            assert_not_signed(docker.refused("pull", image))
        assert_not_signed(cast.consumer.refused("pull", f"{name}@{digest}"))
        cast.consumer.trusting.refused("pull", image)
        cast.load(image, f"{name} first")  # signing needs the image; it was made here
    with story.flow("`trust key generate`"):
        alice("trust", "key", "generate", "alice")
        assert "PUBLIC KEY" in (alice.home / "alice.pub").read_text()
    with story.flow("`trust signer add` begins a collection; a signer alone signs nothing"):
        said = owner("trust", "signer", "add", "--key", alice.home / "alice.pub", "alice", name)
        assert f'Successfully initialized "{name}"' in said
        assert_not_signed(cast.consumer.refused("pull", image))
    with story.flow("`trust sign` by a delegate with a key and a login of her own"):
        assert f"Successfully signed {image}" in alice("trust", "sign", image)
    with story.flow("`trust sign` by who has the keys and may not push is refused"):
        shutil.copytree(
            alice.home / ".docker/trust/private", cast.consumer.home / ".docker/trust/private", dirs_exist_ok=True
        )
        assert REFUSED.search(cast.consumer.refused("trust", "sign", image))
    with story.flow("`trust inspect`"):
        shown = cast.consumer("trust", "inspect", "--pretty", name)
        assert re.search(rf"^1 +{digest.removeprefix('sha256:')} +alice$", shown, re.MULTILINE), shown
        assert re.search(r"^alice +[0-9a-f]{12}$", shown, re.MULTILINE), shown
    return digest


def consumers(cast: Cast, story: Story, digest: str) -> None:
    """What is signed is pulled, and nothing else."""
    consumer, name, image = cast.consumer, cast.name, f"{cast.name}:1"
    for trusting in (False, True):
        with story.flow(f"`pull`{' with DOCKER_CONTENT_TRUST=1' if trusting else ''}, by tag and by digest"):
            assert digest in cast.pull(image, trusting=trusting)
            client = consumer.trusting if trusting else consumer
            client("pull", f"{name}@{digest}")
    with story.flow("`pull` of a tag that was moved after signing is refused; the signed digest is not"):
        other = cast.push(image, f"{name} second")
        assert other != digest
        said = consumer.refused("pull", image)
        assert f"was signed as {digest}, and the tag now stands for {other}" in said
        assert "docker trust sign" in said
        assert f"{other} is not signed" in consumer.refused("pull", f"{name}@{other}")
        consumer("pull", f"{name}@{digest}")
        # A client that verifies by itself asks for the signed digest, and gets it.
        assert digest in consumer.trusting("pull", image)


def more_signatures(cast: Cast, story: Story) -> None:
    """Alice signs tag 2 and takes tag 1 back; Bob, whose key is made elsewhere, signs tag 3."""
    alice, bob, name = cast.alice, cast.bob, cast.name
    with story.flow("`trust sign` of another tag"):
        cast.load(f"{name}:2", f"{name} another")
        assert f"Successfully signed {name}:2" in alice("trust", "sign", f"{name}:2")
        cast.pull(f"{name}:2")
    with story.flow("`trust revoke`"):
        assert f"Successfully deleted signature for {name}:1" in alice("trust", "revoke", f"{name}:1")
        # By tag alone: an engine that has had a manifest never asks for its digest again.
        assert_not_signed(cast.consumer.refused("pull", f"{name}:1"))
        assert "No valid trust data for 1" in cast.consumer.trusting.refused("pull", f"{name}:1")
        cast.pull(f"{name}:2", trusting=True)
    with story.flow("`trust key load`, and `trust signer add` of one more"):
        key = bob.home / "bob.pem"
        make_key(key)
        assert "Successfully imported key" in bob("trust", "key", "load", "--name", "bob", key)
        cast.owner("trust", "signer", "add", "--key", key.with_suffix(".pub"), "bob", name)
        cast.load(f"{name}:3", f"{name} Bob's")
        bob("trust", "sign", f"{name}:3")
        assert re.search(r"^3 .* bob$", cast.consumer("trust", "inspect", "--pretty", name), re.MULTILINE)
        cast.pull(f"{name}:3", trusting=True)


def removals(cast: Cast, story: Story) -> None:
    """Bob goes, comes back and goes again."""
    owner, alice, bob, name = cast.owner, cast.alice, cast.bob, cast.name
    remove = ("trust", "signer", "remove", "bob", name)
    with story.flow("`trust signer remove` of who signed last, which it asks about") as flow:
        assert "Successfully removed bob" in owner(*remove, text="y\n")
        # No signature of targets/releases is good any longer: that cannot be told from tampering, and docker keeps
        # the reasons of a 503 to itself.
        assert "503" in cast.consumer.refused("pull", f"{name}:2")
        assert "server rejected operation" in alice.refused("trust", "sign", f"{name}:2")
        troth_of(alice, cast)("sign", f"{name}:2")
        cast.pull(f"{name}:2", trusting=True)
        flow.note(LAST_SIGNER)
    owner("trust", "signer", "add", "--key", bob.home / "bob.pub", "bob", name)
    cast.sign(bob, "4")
    cast.sign(alice, "5")
    with story.flow("`trust signer remove` of another") as flow:
        if "Successfully removed bob" not in owner(*remove):
            cast.sign(bob, "6")
            cast.sign(alice, "7")
            troth_of(owner, cast)("signer", "remove", "bob", name)
            flow.falls_short(SIGNER_REMOVE)
        assert "bob" not in owner("trust", "inspect", "--pretty", name)
        owner("tag", f"{name}:2", f"{name}:8")
        assert "no valid signing keys" in bob.refused("trust", "sign", f"{name}:8")
        cast.pull(f"{name}:2", trusting=True)


def a_trusting_push(cast: Cast, story: Story) -> None:
    """The owner signs a repository without signers."""
    name = f"{cast.name}/plain"
    with story.flow("`push` with DOCKER_CONTENT_TRUST=1 begins a collection and signs"):
        cast.load(f"{name}:1", name)
        assert "Successfully signed" in cast.owner.trusting("push", f"{name}:1")
        assert "(Repo Admin)" in cast.owner("trust", "inspect", "--pretty", name)
        cast.owner("image", "rm", f"{name}:1")
        cast.owner("pull", f"{name}:1")
    with story.flow("`pull` of another tag of a signed image is refused; the digest is not"):
        digest = cast.push(f"{name}:2", name)
        assert_not_signed(cast.owner.refused("pull", f"{name}:2"))
        cast.owner("pull", f"{name}@{digest}")


def strangers(cast: Cast, story: Story) -> None:
    """Without a login nothing is changed, whoever has the keys."""
    with story.flow("`push` and `trust revoke` after `logout` are refused"):
        cast.owner("logout", cast.registry)
        assert REFUSED.search(cast.owner.refused("push", f"{cast.name}:2"))
        assert REFUSED.search(cast.owner.refused("trust", "revoke", f"{cast.name}/plain:1"))
        cast.pull(f"{cast.name}:2", trusting=True)


def make_key(path: Path) -> None:
    """A private key as OpenSSL writes it, and beside it (`.pub`) the public one."""
    path.touch(mode=0o600)
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path], check=True)
    public: list[str | Path] = ["openssl", "ec", "-in", path, "-pubout", "-out", path.with_suffix(".pub")]
    subprocess.run(public, check=True, capture_output=True)


def troth_of(docker: Docker, cast: Cast) -> Troth:
    """`troth` of the same user as `docker`."""
    folder = docker.home / ".docker/tls" / cast.registry
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(cast.authority.read_bytes())
    return Troth(docker.home, docker.environment)
