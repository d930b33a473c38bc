# SPDX-License-Identifier: Apache-2.0
"""The story of trust collections, told by Debian's notary client.

The administrator publishes, a delegate with an account and keys of its own signs, and a consumer reads.  One of the
addresses that answer for trust data, notary-server's own and the registry's, is the publisher's and the other the
reader's; on each database it is the other way round.  The outcome is a part of docs/reference/clients.md.
What the client asks for and says is in NOTARY_V1 §5.3, §6.5.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

from flows.clients import Client, notary
from flows.clienttable import Story, Table
from flows.notarycast import KEYS, Cast, certificate, leaf, now, private_key, target, version
from flows.sites import Site
from trust.ca import Authority, new_authority
from trust.changes import Delegate
from trust.keys import generate_private, public_key_of
from trust.names import RoleName
from trust.repository import LIFETIMES, Creation

ED25519 = (
    "The client neither makes such keys nor delegates to them: of a certificate with one it says that the public key "
    "is nil. It imports one that `troth` has exported, and signs with it in a role that `trust.Repository` delegated."
)
CUSTOM = (
    "Custom data must be canonical: keys in order, and none of `<`, `>`, `&` in it. The client signs other data in a "
    "form that it cannot verify itself; troth refuses it, as the original server does."
)
THRESHOLD = "The client makes thresholds of one only; this collection was begun with `trust.Repository`."
PURGE = "A role whose last key was purged stays, without keys, and says nothing, until `delegation remove`."
DELETED = "Who has read the collection before goes on with the cached copy, with a warning, until its timestamp ends."


def tell(site: Site, table: Table, folder: Path) -> None:
    """Play it.

    Args:
        site: where; the collections are used by nobody else.
        table: gets the outcome.
        folder: gets everybody's homes, all fresh.
    """
    for name in ("app", "pinned", "many", "old"):
        site.grant(f"notary/{name}")
    artifact = folder / "artifact"
    artifact.write_bytes(b"something to sign\n")
    cast = Cast(site, folder, f"{site.stack.registry}/notary/app", artifact)
    with table.story("notary", site.kind, client=version(), database=site.version) as story:
        end = an_expiring_collection(cast)
        the_first_collection(cast, story)
        strangers(cast, story)
        server_keys(cast, story)
        delegations(cast, story)
        nested_delegations(cast, story)
        removed_delegations(cast, story)
        own_keys(cast, story)
        pins(cast, story)
        thresholds(cast, story)
        expiry(cast, story, end)
        the_end(cast, story)


def the_first_collection(cast: Cast, story: Story) -> None:
    publisher, gun, artifact = cast.publisher, cast.gun, cast.artifact
    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    with story.flow("`init`, `add`, `publish`"):
        publisher("init", gun)
        publisher("add", gun, "v1", artifact)
        assert re.search(r"create +targets +target +v1$", publisher("status", gun), re.MULTILINE)
        publisher("publish", gun)
    with story.flow("`list`, `lookup`, `verify`"):
        reader = cast.reader()
        assert re.search(rf"^v1 +{digest} +18 +targets$", reader("list", gun), re.MULTILINE)
        assert f"v1 sha256:{digest} 18" in reader("lookup", gun, "v1")
        reader("verify", gun, "v1", "--input", artifact)
        (cast.folder / "another artifact").write_text("something else\n")
        assert "data not present in the trusted collection" in reader.refused(
            "verify", gun, "v1", "--input", cast.folder / "another artifact"
        )
    with story.flow("`addhash` with SHA-512 and custom data") as flow:
        custom = cast.folder / "custom.json"
        hashes = ["--sha256", digest, "--sha512", hashlib.sha512(artifact.read_bytes()).hexdigest()]
        command: tuple[str | Path, ...] = ("addhash", gun, "v2", "18", *hashes, "--custom", custom, "--publish")
        custom.write_text('{"b": 1, "a": "<&>"}')
        assert "valid signatures did not meet threshold" in publisher.refused(*command)
        publisher("reset", gun, "--all")
        custom.write_text('{"a": null, "b": [1, "é"]}')
        publisher(*command)
        cast.reader()("verify", gun, "v2", "--input", artifact)
        flow.note(CUSTOM)
    with story.flow("`remove`"):
        publisher("remove", gun, "v2", "--publish")
        assert cast.listed() == {"v1": "targets"}
    assert cast.listed(reader="first") == {"v1": "targets"}  # for long nothing more is heard of this one


def strangers(cast: Cast, story: Story) -> None:
    gun = cast.gun
    with story.flow("a wrong password, or a user who may only read: no key is given out, nothing is published"):
        stranger = notary(cast.site.stack, cast.folder / "stranger", cast.site.stack.server_url, password="wrong")
        assert "unauthorized" in stranger.refused("init", f"{gun}/new")
        for name, client in (("stranger", stranger), ("reader", cast.reader())):
            # The keys of a signer do not make up for the right to publish.
            shutil.copytree(cast.folder / "publisher/.notary", cast.folder / name / ".notary", dirs_exist_ok=True)
            client("add", gun, "evil", cast.artifact)
            assert re.search("unauthorized|not authorized|denied", client.refused("publish", gun))
            client("reset", gun, "--all")
        assert cast.listed(reader="bystander") == {"v1": "targets"}
    with story.flow("a server with a certificate of an unknown authority is refused"):
        plain = Client("/usr/bin/notary", cast.folder / "plain", ["--server", cast.site.stack.server_url])
        assert re.search("certificate signed by unknown authority|unable to reach", plain.refused("list", gun))


def server_keys(cast: Cast, story: Story) -> None:
    """Without the snapshot's key at the server no delegate could publish."""
    publisher, gun = cast.publisher, cast.gun
    for role in ("snapshot", "timestamp"):
        with story.flow(f"`key rotate {role} --server-managed`"):
            publisher("key", "rotate", gun, role, "--server-managed")
            assert cast.listed() == {"v1": "targets"}  # from the old root to the new one
            publisher("witness", gun, "targets", "--publish")
            assert cast.listed() == {"v1": "targets"}


def delegations(cast: Cast, story: Story) -> None:
    """Roles with all paths, and keys of every kind."""
    publisher, delegate, gun = cast.publisher, cast.delegate, cast.gun
    made = {RoleName(f"targets/{kind.split()[-1].lower()}"): (kind, make()) for kind, make in KEYS.items()}
    with story.flow("`delegation add`, `delegation list`"):
        for role, (_, key) in made.items():
            publisher("delegation", "add", gun, role, certificate(cast.folder, role, key), "--all-paths")
        publisher("publish", gun)
        listed = cast.reader()("delegation", "list", gun)
        for role, (_, key) in made.items():
            key_id = public_key_of(key).canonical_id
            assert re.search(rf'^{role} +"" <all paths> +{key_id} +1$', listed, re.MULTILINE), listed
    for role, (_, key) in made.items():
        delegate("key", "import", private_key(cast.folder, role, key), "--role", role)
        delegate("add", gun, f"by-{leaf(role)}", cast.artifact, "--roles", role)
    delegate("publish", gun)
    listed_now = cast.listed()
    for role, (kind, _) in made.items():
        with story.flow(f"`key import`, and a delegate signs: {kind}, delegated to by certificate"):
            assert listed_now[f"by-{leaf(role)}"] == role
    with story.flow("`key import`, and a delegate signs: Ed25519") as flow:
        an_ed25519_key(cast)
        flow.note(ED25519)


def an_ed25519_key(cast: Cast) -> None:
    publisher, delegate, gun, role = cast.publisher, cast.delegate, cast.gun, RoleName("targets/ed25519")
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=ed25519"]
    files: list[str | Path] = ["-keyout", cast.folder / "ed25519.key", "-out", cast.folder / "ed25519.crt"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    said = publisher.refused("delegation", "add", gun, role, cast.folder / "ed25519.crt", "--all-paths")
    assert "public key is nil" in said
    publisher("reset", gun, "--all")
    delegate.refused("key", "import", cast.folder / "ed25519.key", "--role", role)

    keys, key = cast.keys("ed25519"), generate_private("ed25519")
    held = keys.add(key, role=role)
    (cast.folder / "ed25519.pem").write_bytes(keys.export(held.key_id))
    cast.library(gun, now).publish(Delegate(role, (public_key_of(key),), ("",)))
    delegate("key", "import", cast.folder / "ed25519.pem")
    delegate("add", gun, "by-ed25519", cast.artifact, "--roles", role, "--publish")
    assert cast.listed()["by-ed25519"] == role


def nested_delegations(cast: Cast, story: Story) -> None:
    """`targets/docs` signs below docs/ and man/ alone, and lets `targets/docs/api` sign below docs/api/."""
    publisher, delegate, gun = cast.publisher, cast.delegate, cast.gun
    keys = {RoleName(role): generate_private("ecdsa") for role in ("targets/docs", "targets/docs/api")}
    for role, key in keys.items():
        delegate("key", "import", private_key(cast.folder, role, key), "--role", role)
    docs, api = (certificate(cast.folder, role, key) for role, key in keys.items())
    with story.flow("a delegation for path prefixes signs there and nowhere else"):
        publisher("delegation", "add", gun, "targets/docs", docs, "--paths", "docs/,man/", "--publish")
        delegate("add", gun, "docs/a", cast.artifact, "--roles", "targets/docs", "--publish")
        delegate("add", gun, "v1", cast.artifact, "--roles", "targets/docs")
        assert "Could not add all targets" in delegate.refused("publish", gun)
        delegate("reset", gun, "--all")
        assert cast.listed()["docs/a"] == "targets/docs"
        assert cast.listed()["v1"] == "targets"
    with story.flow("a nested delegation, which a delegate makes"):
        delegate("delegation", "add", gun, "targets/docs/api", api, "--paths", "docs/api/", "--publish")
        delegate("add", gun, "docs/api/b", cast.artifact, "--roles", "targets/docs/api", "--publish")
        assert cast.listed()["docs/api/b"] == "targets/docs/api"
        below = cast.listed("", "--roles", "targets/docs")
        assert below == {"docs/a": "targets/docs", "docs/api/b": "targets/docs/api"}
    with story.flow("`witness` of targets and of delegations"):
        roles = {"targets": publisher, "targets/docs": delegate, "targets/docs/api": delegate}
        before = {role: cast.version(role) for role in roles}
        for name, client in roles.items():
            client("witness", gun, name, "--publish")
        names = cast.listed()
        assert {role: cast.version(role) for role in roles} == {role: number + 1 for role, number in before.items()}
        assert names["docs/api/b"] == "targets/docs/api"


def removed_delegations(cast: Cast, story: Story) -> None:
    publisher, delegate, gun = cast.publisher, cast.delegate, cast.gun
    with story.flow("`delegation remove` of a path"):
        publisher("delegation", "remove", gun, "targets/docs", "--paths", "man/", "--publish")
        assert "man/" not in cast.reader()("delegation", "list", gun)
    with story.flow("`delegation purge` of a key") as flow:
        key_id = re.search(
            r"^targets/docs/api +(?:\.\.\.)?\S* *([0-9a-f]{64})", delegate("key", "list"), re.MULTILINE
        )
        assert key_id
        delegate("delegation", "purge", gun, "--key", key_id[1], "--publish")
        assert key_id[1] not in cast.reader()("delegation", "list", gun)
        assert "docs/api/b" not in cast.listed()
        flow.note(PURGE)
    with story.flow("`delegation remove` of a role, and all below it"):
        publisher("delegation", "remove", gun, "targets/docs", "--yes", "--publish")
        assert "targets/docs" not in cast.reader()("delegation", "list", gun)
        assert not [name for name in cast.listed() if name.startswith("docs/")]
        delegate("add", gun, "docs/late", cast.artifact, "--roles", "targets/docs")
        delegate.refused("publish", gun)
        delegate("reset", gun, "--all")


def own_keys(cast: Cast, story: Story) -> None:
    publisher, gun = cast.publisher, cast.gun
    with story.flow("`key rotate targets`"):
        publisher("key", "rotate", gun, "targets")
        assert cast.listed()["v1"] == "targets"
    with story.flow("`key rotate snapshot`, back to the publisher and to the server again"):
        publisher("key", "rotate", gun, "snapshot")
        publisher("add", gun, "v3", cast.artifact, "--publish")
        assert cast.listed()["v3"] == "targets"
        publisher("key", "rotate", gun, "snapshot", "--server-managed")
        publisher("remove", gun, "v3", "--publish")
        assert "v3" not in cast.listed()
    with story.flow("`key rotate root`, three times; who last saw version 1 catches up"):
        assert cast.version("root", "first") == 1
        for _ in range(3):
            said = publisher("key", "rotate", gun, "root", text="yes\n")
            assert "Successfully rotated root key" in said
        everything = cast.listed()
        assert cast.listed(reader="first") == everything
        assert cast.version("root", "first") == cast.version("root") > 4
        assert cast.listed(reader="newcomer") == everything


def pins(cast: Cast, story: Story) -> None:
    """A root certificate of the publisher's own authority, and readers who believe no other."""
    gun = f"{cast.site.stack.registry}/notary/pinned"
    authorities = {}
    for name in ("right", "wrong"):
        authorities[name] = Authority(new_authority(f"the {name} authority", now()))
        (cast.folder / f"{name}.pem").write_bytes(authorities[name].certificate_pem)
    authorities["right"].issue(gun, [], server=True, client=False, now=now()).write(
        cast.folder / "root.crt", cast.folder / "root.key"
    )
    with story.flow("`init --rootcert` with a certificate that an authority has issued"):
        owner = cast.person("owner", "admin")
        owner("key", "import", cast.folder / "root.key", "--role", "root")
        owner("init", gun, "--rootcert", cast.folder / "root.crt")
        owner("add", gun, "v1", cast.artifact, "--publish")
        root = json.loads((cast.folder / "owner/.notary/tuf" / gun / "metadata/root.json").read_bytes())["signed"]
        assert cast.listed(gun) == {"v1": "targets"}

    def seen(name: str, pinning: dict[str, object]) -> str:
        return cast.reader(name, pinning)("list", gun)

    def refused(name: str, pinning: dict[str, object]) -> str:
        return cast.reader(name, pinning).refused("list", gun)

    prefix = gun.removesuffix("pinned")
    with story.flow("`trust_pinning.ca`: a root of that authority is believed, of another refused"):
        assert "v1" in seen("ca", {"ca": {prefix: str(cast.folder / "right.pem")}, "disable_tofu": True})
        said = refused("other-ca", {"ca": {prefix: str(cast.folder / "wrong.pem")}})
        assert "unable to match any certificates to trust_pinning config" in said
    with story.flow("`trust_pinning.certs`: that root key is believed, another refused"):
        assert "v1" in seen("certs", {"certs": {gun: root["roles"]["root"]["keyids"]}, "disable_tofu": True})
        said = refused("other-certs", {"certs": {f"{prefix}*": ["0" * 64]}})
        assert "unable to match any certificates to trust_pinning config" in said
    with story.flow("`trust_pinning.disable_tofu`: what is not pinned is refused"):
        assert "invalid trust pinning specified" in refused("no-tofu", {"disable_tofu": True})


def thresholds(cast: Cast, story: Story) -> None:
    """Two of two keys must sign root and targets."""
    gun, publisher = f"{cast.site.stack.registry}/notary/many", cast.publisher
    with story.flow("thresholds of two for root and targets") as flow:
        two = Creation(root_keys=2, root_threshold=2, targets_keys=2, targets_threshold=2)
        cast.library(gun, now).publish(target(cast, "v1"), create=two)
        assert cast.listed(gun) == {"v1": "targets"}
        publisher("add", gun, "v2", cast.artifact, "--publish")
        assert cast.listed(gun) == {"v1": "targets", "v2": "targets"}
        keys = cast.keys("publisher")
        keys.remove(next(held.key_id for held in keys.held(role="targets") if held.gun == gun))
        publisher("add", gun, "v3", cast.artifact)
        assert "found 1 of 2 needed keys" in publisher.refused("publish", gun)
        flow.note(THRESHOLD)


def an_expiring_collection(cast: Cast) -> datetime:
    """A collection that was begun almost three years ago: its targets end soon, and this is when."""
    end = now() + timedelta(seconds=10)
    begun = end - LIFETIMES["targets"]
    gun = f"{cast.site.stack.registry}/notary/old"
    cast.library(gun, lambda: begun).publish(target(cast, "v1"), create=Creation())
    assert cast.listed(gun) == {"v1": "targets"}
    return end


def expiry(cast: Cast, story: Story, end: datetime) -> None:
    gun = f"{cast.site.stack.registry}/notary/old"
    with story.flow("a role that has expired is refused"):
        time.sleep(max(0.0, (end - now()).total_seconds() + 1))
        for name in ("reader", "newcomer"):
            assert "targets expired at" in cast.reader(name).refused("list", gun)


def the_end(cast: Cast, story: Story) -> None:
    with story.flow("`delete --remote`") as flow:
        cast.delegate.refused("delete", cast.gun, "--remote")  # who may push may not
        assert cast.listed()["v1"] == "targets"
        cast.publisher("delete", cast.gun, "--remote")
        assert "does not have trust data" in cast.reader("latecomer").refused("list", cast.gun)
        assert cast.listed()["v1"] == "targets"
        flow.note(DELETED)
