# SPDX-License-Identifier: Apache-2.0
"""The API as an operator uses it: policies, who signed what, users who are let in no more, and the audit trail."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from people import ADMIN, ALICE, BOB, NOW, PASSWORD, People
from registry.accounts.accesstokens import list_tokens
from registry.accounts.admin import grant
from registry.accounts.models import RefreshToken
from registry.accounts.organisations import add_organisation
from registry.accounts.policy import Level, Place
from registry.models import TRAIL
from world import APP, RELEASES, World
from world import PASSWORD as WORLDS

PIN = "0123456789abcdef" * 4


@pytest.fixture
def people(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[People]:
    """An organisation `base`, which alice owns, and where bob is admin of one repository."""
    # A test that names the fixture `database_url` is run on every kind of database.
    every = "database_url" in request.fixturenames
    people = People(tmp_path, **({"database_url": request.getfixturevalue("database_url")} if every else {}))
    add_organisation(people.database, "base", owners=[ALICE], now=NOW)
    grant(people.database, BOB, Place("base/app"), Level.ADMIN)
    yield people
    people.close()


def done(answer: TestResponse) -> Any:
    """The body of an answer of success."""
    assert answer.status_code < 300, answer.text
    return answer.get_json() if answer.data else None


def refused(answer: TestResponse, status: int) -> Any:
    """The only error of a refusal."""
    assert answer.status_code == status, answer.text
    (error,) = answer.get_json()["errors"]
    return error


def demand(people: People, user: str, place: str, **parts: object) -> TestResponse:
    """A change of a policy."""
    return people.api("PATCH", "/policy", user, {"place": place, **parts})


def demanded(people: People, user: str, place: str) -> Any:
    """What is demanded in a place, without the number that follows from the rest."""
    policy = done(people.api("GET", f"/policy?place={place}", user))["policy"]
    assert policy.pop("needed") in (1, 2)
    return policy


# Policies


def test_a_repositorys_admin_demands_more_and_never_less_than_its_namespace(people: People) -> None:
    """AUTH-A09"""
    done(demand(people, ALICE, "base/", mode="enforced", require="all", grace_days=0, immutable=["v*"]))
    base = demanded(people, ALICE, "base/")
    assert demanded(people, BOB, "base/app") == base
    for weaker, told in (
        ({"mode": "permissive"}, "mode permissive"),
        ({"mode": "resolve", "grace_days": 0}, "mode resolve"),
        ({"roles": ["targets/bob"]}, "roles targets/bob require any"),
        ({"require": "any"}, "roles targets/releases,targets require any"),
        ({"grace_days": 1}, "grace_days 1"),
    ):
        error = refused(demand(people, BOB, "base/app", **weaker), 403)
        assert error["detail"]["asked"] == told
        assert (error["detail"]["given"], error["detail"]["from"]) == ("admin of base/app", ["base/"])
        assert demanded(people, BOB, "base/app") == base
    told = done(demand(people, BOB, "base/app", immutable=["latest"], pins=[PIN]))
    assert told["policy"] == base | {"immutable": ["v*", "latest"], "pins": [PIN], "needed": 2}
    assert [(each["place"], each["said_by"]) for each in told["from"]] == [
        ("base/app", "admins"), ("base/", "admins"), ("settings", "settings"),
    ]  # fmt: skip
    # No list and no null gets round it, nor does he reach what is around.
    assert done(demand(people, BOB, "base/app", immutable=[], mode=None))["policy"]["immutable"] == ["v*"]
    assert done(people.api("DELETE", "/policy?place=base/app", BOB))["policy"] == base | {"needed": 2}
    refused(demand(people, BOB, "base/", mode="disabled"), 404)
    refused(people.api("DELETE", "/policy?place=base/", BOB), 404)
    # What the owners demand is theirs to take back, down to what the site does.
    assert done(people.api("DELETE", "/policy?place=base/", ALICE))["policy"]["mode"] == "disabled"


@pytest.mark.usefixtures("database_url")
def test_what_an_administrator_demands_of_a_namespace_its_owners_do_not_weaken(people: People) -> None:
    """AUTH-A09"""
    done(demand(people, ALICE, "base/tools/", mode="permissive"))  # before anything else is demanded
    done(demand(people, ADMIN, "base/", mode="enforced", pins=[PIN]))
    for place in ("base/", "base/tools/", "base/tools/app"):
        refused(demand(people, ALICE, place, mode="permissive"), 403)
        refused(demand(people, ALICE, place, pins=["0" * 64]), 403)
        done(people.api("DELETE", f"/policy?place={place}", ALICE))
        assert demanded(people, ALICE, place)["mode"] == "enforced"
        assert demanded(people, ALICE, place)["pins"] == [PIN]
    assert done(demand(people, ADMIN, "base/tools/", mode="disabled"))["policy"]["mode"] == "disabled"
    assert done(people.api("DELETE", "/policy?place=base/tools/", ADMIN))["policy"]["mode"] == "enforced"


def test_whoever_may_pull_sees_a_policy_and_nobody_else_that_there_is_one(people: People) -> None:
    """AUTH-A07"""
    grant(people.database, BOB, Place("base/app"), Level.READ)
    assert demanded(people, BOB, "base/app")["mode"] == "disabled"
    error = refused(demand(people, BOB, "base/app", mode="enforced"), 403)
    assert error["detail"] == {"asked": "admin of base/app", "given": "read of base/app"}
    for place in ("base/", "base/other", "alice/app", "base/app/"):
        refused(people.api("GET", f"/policy?place={place}", BOB), 404)
        refused(demand(people, BOB, place, mode="enforced"), 404)
    for place in ("Base/", "", "/", "base//app", "localhost:5000/"):
        refused(people.api("GET", f"/policy?place={place}", ADMIN), 400)
    refused(demand(people, ADMIN, "localhost/", mode="enforced"), 400)
    for wrong in ({"mode": "off"}, {"roles": ["root"]}, {"require": "3"}, {"grace_days": 366}, {"pins": ["x"]}):
        refused(demand(people, ADMIN, "base/", **wrong), 400)
    assert done(people.api("GET", "/policy?place=base/", ADMIN))["from"] == [
        {
            "place": "settings",
            "said_by": "settings",
            "short": [],
            "says": {
                "mode": "disabled", "roles": ["targets/releases", "targets"], "require": "any", "pins": [],
                "grace_days": 0, "immutable": [],
            },
        }
    ]  # fmt: skip


def test_each_change_of_a_policy_is_recorded_with_who_made_it_and_who_tried_to(people: People) -> None:
    done(demand(people, ADMIN, "base/", mode="enforced"))
    done(demand(people, BOB, "base/app", grace_days=0, immutable=["v*"]))
    refused(demand(people, BOB, "base/app", mode="disabled"), 403)
    done(people.api("DELETE", "/policy?place=base/app", BOB))
    records = done(people.api("GET", "/audit?since=2026-01-01", ADMIN))["records"][-4:]
    told = [(each["actor"], each["action"], each["name"], each["outcome"]) for each in records]
    assert told == [
        (ADMIN, "policy.change", "base/", "done"), (BOB, "policy.add", "base/app", "done"),
        (BOB, "api", "/api/v1/policy", "refused"), (BOB, "policy.reset", "base/app", "done"),
    ]  # fmt: skip
    assert records[0]["detail"] == {"mode": ["disabled", "enforced"]}
    assert records[1]["detail"] == {"immutable": [[], ["v*"]]}
    assert "asked for mode disabled, demanded is mode enforced" in records[2]["detail"]["message"]


# Users


def test_who_is_disabled_gets_in_by_no_way_and_is_whole_again_afterwards(people: People) -> None:
    people.push("bob/app", BOB)
    _, secret = people.access_token(BOB, Level.ADMIN)
    refresh = people.login(BOB, offline_token="true").get_json()["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "service": "troth"}

    def ways() -> list[int]:
        client = people.app.test_client()
        return [
            people.api("GET", "/me", BOB).status_code,
            people.api("GET", "/me", BOB, password=secret).status_code,
            people.api("GET", "/me", "<token>", password=refresh).status_code,
            people.login(BOB).status_code,
            client.post("/auth/token", data=form).status_code,
        ]

    assert ways() == [200] * 5
    assert done(people.api("PATCH", "/users/bob", ADMIN, {"disabled": True}))["disabled"] is True
    assert ways() == [401] * 5
    done(people.api("PATCH", "/users/bob", ADMIN, {"disabled": False}))
    assert ways() == [200] * 5
    refused(people.api("PATCH", "/users/bob", ALICE, {"disabled": True}), 403)
    for method, body in (("PATCH", {"disabled": True}), ("PATCH", {"administrator": False}), ("DELETE", None)):
        assert refused(people.api(method, "/users/admin", ADMIN, body), 409)["code"] == "CONFLICT"
    done(people.api("PATCH", "/users/alice", ADMIN, {"administrator": True}))
    done(people.api("PATCH", "/users/admin", ALICE, {"administrator": False}))
    refused(people.api("GET", "/users", ADMIN), 403)
    refused(people.api("PATCH", "/users/nobody", ALICE, {"disabled": True}), 404)


def test_what_docker_keeps_of_a_login_will_do_for_the_api_and_makes_nothing_that_outlives_it(people: People) -> None:
    """AUTH-A06"""
    refresh = people.login(ADMIN, offline_token="true").get_json()["refresh_token"]
    assert done(people.api("GET", "/me", "<token>", password=refresh))["name"] == ADMIN
    done(people.api("POST", "/organisations", "<token>", {"name": "tools"}, password=refresh))
    for path, body in (
        ("/users/bob/password", {"password": PASSWORD}),
        ("/users/admin/password", {"password": "x" * 9}),
    ):
        error = refused(people.api("PUT", path, "<token>", body, password=refresh), 403)
        assert error["detail"] == {"asked": "the password itself", "given": "a token with the scope admin"}
    refused(people.api("POST", "/tokens", "<token>", {"description": "x", "scope": "read"}, password=refresh), 403)
    assert people.login("<token>", password=refresh).status_code == 401  # this is for the API alone
    done(people.api("PUT", "/users/admin/password", ADMIN, {"password": "another password"}))
    refused(people.api("GET", "/me", "<token>", password=refresh), 401)
    with people.database.write() as session:
        session.query(RefreshToken).delete()
    refused(people.api("GET", "/me", "<token>", password=""), 401)


def test_an_administrator_sees_and_revokes_everybodys_tokens(people: People) -> None:
    """AUTH-A07"""
    number, _ = people.access_token(BOB, Level.READ, days=3)
    (token,) = done(people.api("GET", "/users/bob/tokens", ADMIN))["tokens"]
    assert (token["id"], token["scope"], token["expires"]) == (number, "read", "2026-11-27T12:00:00Z")
    assert done(people.api("GET", "/users/bob/tokens", BOB))["tokens"] == [token]
    for user in ("bob", "nobody"):
        refused(people.api("GET", f"/users/{user}/tokens", ALICE), 404)
        refused(people.api("DELETE", f"/users/{user}/tokens/{number}", ALICE), 404)
    refused(people.api("GET", "/users/nobody/tokens", ADMIN), 404)
    refused(people.api("DELETE", f"/users/alice/tokens/{number}", ADMIN), 404)  # it is bob's
    done(people.api("DELETE", f"/users/bob/tokens/{number}", ADMIN))
    assert list_tokens(people.database, BOB) == []


def test_who_says_nothing_is_told_what_was_asked(people: People) -> None:
    error = refused(people.api("GET", "/me", None), 401)
    assert error["detail"] == {"asked": "a password or an access token", "given": "nothing"}
    bearer = {"Authorization": f"Bearer {people.login(ALICE).get_json()['token']}"}
    error = refused(people.app.test_client().get("/api/v1/me", headers=bearer), 401)
    assert error["detail"]["given"] == "a bearer token, which is for the registry"


# The audit trail


def test_the_audit_trail_is_read_a_page_at_a_time_by_administrators_alone(people: People) -> None:
    refused(people.api("GET", "/audit", ALICE), 403)
    whole = done(people.api("GET", "/audit", ADMIN))
    with people.database.read() as session:
        assert whole["records"] == [json.loads(each.to_json()) for each in TRAIL.records(session)]
        assert whole["head"] == str(TRAIL.head(session))
    found, link = [], "/audit?n=2"
    while link:
        page = people.api("GET", link, ADMIN)
        found += done(page)["records"]
        assert len(page.get_json()["records"]) <= 2
        link = page.headers.get("Link", "").partition("</api/v1")[2].partition(">")[0]
    assert found == whole["records"]
    assert {each["name"] for each in done(people.api("GET", "/audit?name=base/app", ADMIN))["records"]} == {
        "base/app"
    }
    assert done(people.api("GET", "/audit?since=2100-01-01T00:00:00Z", ADMIN))["records"] == []
    for query in ("n=0", "n=1001", "after=-1", "after=x", "since=yesterday", "since=2026-13-01", "name=%00"):
        refused(people.api("GET", f"/audit?{query}", ADMIN), 400)


# What is signed


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A site where everything is enforced, with a user alice who is admin of `APP`, and an administrator."""
    world = World(tmp_path)
    world.add_user(ALICE, Level.ADMIN)
    world.add_user(ADMIN, is_admin=True)
    return world


def ask(world: World, method: str, path: str, user: str = ALICE, **options: Any) -> TestResponse:
    """A request of the API by somebody who logs in."""
    return world.app.test_client().open(f"/api/v1{path}", method=method, auth=(user, WORLDS), **options)


def test_tags_are_listed_with_who_signed_what_they_stand_for(world: World) -> None:
    images = {tag: world.push_image(APP, tag, seed=tag) for tag in ("1", "2", "3")}
    assert [each["signed"] for each in done(ask(world, "GET", f"/tags?repository={APP}"))["tags"]] == [False] * 3
    world.publish(APP, {"1": images["1"], "2": images["2"]})
    world.push_manifest(APP, world.manifests[images["3"]], "2")
    first = ask(world, "GET", f"/tags?repository={APP}&n=2")
    one, two = done(first)["tags"]
    assert (one["tag"], one["digest"], one["signed"], one["signed_by"]) == ("1", images["1"], True, [RELEASES])
    assert (two["digest"], two["signed"], two["signed_by"]) == (images["3"], False, [])
    assert two["signed_digest"] == images["2"]
    assert first.headers["Link"] == f'</api/v1/tags?n=2&repository={APP.replace("/", "%2F")}&last=2>; rel="next"'
    (three,) = done(ask(world, "GET", f"/tags?repository={APP}&n=2&last=2"))["tags"]
    assert (three["tag"], three["signed"], three["signed_digest"]) == ("3", False, None)
    # It says what pulls get.
    for each in (one, two, three):
        assert (world.manifest(APP, each["tag"]).status_code == 200) is each["signed"]
    world.source.away = True
    assert [each["signed"] for each in done(ask(world, "GET", f"/tags?repository={APP}"))["tags"]] == [None] * 3
    refused(ask(world, "GET", "/tags?repository=library/other"), 404)
    for query in ("repository=A", f"repository={APP}&n=101", f"repository={APP}&last=-"):
        refused(ask(world, "GET", f"/tags?{query}"), 400)


def test_an_explanation_is_given_to_who_logs_in_as_well(world: World) -> None:
    image = world.push_image(APP, "1")
    world.publish(APP, {"1": image})
    facts = done(ask(world, "GET", f"/repositories/{APP}/trust/explain?reference=1"))
    assert (facts["decision"], facts["served_digest"], facts["caller_exempt"]) == ("served", image, False)
    headers = world.token()
    bearers = done(
        world.app.test_client().get(f"/api/v1/repositories/{APP}/trust/explain?reference=1", headers=headers)
    )
    assert bearers == facts
    refused(ask(world, "GET", "/repositories/library/other/trust/explain?reference=1"), 404)
    for query in ("", "?reference=", "?reference=a%20tag", "?reference=sha256:0", "?reference=1&x=1"):
        refused(ask(world, "GET", f"/repositories/{APP}/trust/explain{query}"), 400)
    wrong = {"Authorization": "Basic " + base64.b64encode(b"alice:wrong password").decode()}
    answer = world.app.test_client().get(f"/api/v1/repositories/{APP}/trust/explain?reference=1", headers=wrong)
    refused(answer, 401)


def test_a_repository_is_deleted_when_nothing_of_it_is_signed_or_to_stay(world: World) -> None:
    image = world.push_image(APP, "1")
    world.push_image(APP, "2", seed="2")
    world.publish(APP, {"1": image})
    error = refused(ask(world, "DELETE", f"/repositories/{APP}"), 409)
    assert (error["code"], error["detail"]["tags"]) == ("DENIED", ["1"])
    assert world.manifest(APP, "1").status_code == 200
    world.source.away = True
    refused(ask(world, "DELETE", f"/repositories/{APP}"), 503)
    world.source.away = False
    done(ask(world, "PATCH", "/policy", json={"place": APP, "immutable": ["2"]}))
    assert refused(ask(world, "DELETE", f"/repositories/{APP}?trust=cascade"), 403)["detail"]["tag"] == "2"
    assert world.manifest(APP, "1").status_code == 200  # all or nothing
    done(ask(world, "DELETE", f"/policy?place={APP}"))
    done(ask(world, "DELETE", f"/repositories/{APP}?trust=cascade"))
    assert world.manifest(APP, "1").status_code == world.manifest(APP, image).status_code == 404
    assert done(ask(world, "GET", "/repositories", ADMIN)) == {"repositories": []}
    last = done(ask(world, "GET", f"/audit?name={APP}", ADMIN))["records"][-1]
    assert (last["actor"], last["action"], last["detail"]) == (ALICE, "repository.delete", {"trust": "cascade"})
    refused(ask(world, "DELETE", f"/repositories/{APP}?trust=no"), 400)
    refused(ask(world, "DELETE", "/repositories/library/other"), 404)
    assert world.push_image(APP, "1") == image  # it can begin again


def test_who_may_only_push_deletes_no_repository(world: World) -> None:
    world.add_user(BOB, Level.READ_WRITE)
    world.push_image(APP, "1")
    assert refused(ask(world, "DELETE", f"/repositories/{APP}", BOB), 403)["detail"] == {
        "asked": f"admin of {APP}", "given": f"read-write of {APP}",
    }  # fmt: skip
