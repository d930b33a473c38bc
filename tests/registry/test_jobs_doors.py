# SPDX-License-Identifier: Apache-2.0
"""Jobs from outside: `/api/v1`, for administrators alone, and `troth-registry jobs`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from people import ADMIN, ALICE, People
from registry.app import _job_worker, work
from registry.models import TRAIL
from world import APP, World


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    """A registry whose API is asked; its answers are checked against its document."""
    people = People(tmp_path)
    yield people
    people.close()


def test_an_administrator_schedules_runs_and_cancels_jobs(people: People) -> None:
    jobs = people.api("GET", "/jobs", ADMIN).get_json()["jobs"]
    assert {job["kind"]: job["enabled"] for job in jobs} == {
        "gc": True, "prune": False, "refresh": True, "drift": True,
    }  # fmt: skip
    rules = {"rules": [{"scope": "library/", "keep": 5}]}
    changed = people.api("PATCH", "/jobs/prune", ADMIN, {"cron": "0 1 * * 0", "enabled": True, "options": rules})
    assert changed.get_json() | {"meaning": ""} == {
        "kind": "prune", "meaning": "", "cron": "0 1 * * 0", "enabled": True, "options": rules,
        "due": "2026-11-29T01:00:00Z",
    }  # fmt: skip
    run = people.api("POST", "/jobs/prune/runs", ADMIN, {"options": {"dry_run": True}}).get_json()
    assert (run["state"], run["actor"], run["options"]) == ("waiting", ADMIN, {"dry_run": True})
    assert people.api("POST", "/jobs/prune/runs", ADMIN, {}).status_code == 409
    assert people.api("DELETE", f"/job-runs/{run['id']}", ADMIN).get_json()["state"] == "cancelled"
    second = people.api("POST", "/jobs/prune/runs", ADMIN, {}).get_json()
    assert second["options"] == rules
    people.push("library/app")
    _job_worker(people.settings, people.database).turn("prune", Event())
    done = people.api("GET", f"/job-runs/{second['id']}", ADMIN).get_json()
    assert (done["state"], done["report"]["removed"]) == ("done", 0)
    assert "prune begins, started by admin" in people.api("GET", f"/job-runs/{second['id']}/log", ADMIN).text
    listed = people.api("GET", "/job-runs?kind=prune&n=5", ADMIN).get_json()["runs"]
    assert [each["state"] for each in listed] == ["done", "cancelled"]
    with people.database.read() as session:
        told = [(each.actor, each.action) for each in TRAIL.records(session) if each.action.startswith("job.")]
    assert told == [(ADMIN, f"job.{word}") for word in ("schedule", "run", "cancel", "run")]


def test_the_background_work_takes_what_the_api_was_asked_for(people: People) -> None:
    stop = Event()
    thread = Thread(target=work, args=(people.settings, stop))
    number = people.api("POST", "/jobs/gc/runs", ADMIN, {}).get_json()["id"]
    thread.start()
    deadline = time.monotonic() + 20
    while people.api("GET", f"/job-runs/{number}", ADMIN).get_json()["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_what_makes_no_sense_is_refused(people: People) -> None:
    bodies: list[dict[str, object]] = [
        {"cron": "not a cron"}, {"options": {"rules": [{}]}}, {"options": {"untagged": True}}, {"x": 1},
    ]  # fmt: skip
    for body in bodies:
        assert people.api("PATCH", "/jobs/prune", ADMIN, body).status_code == 400
    for path in ("/jobs/nothing", "/job-runs/99", "/job-runs/99/log"):
        assert people.api("GET", path, ADMIN).status_code == 404
    for query in ("kind=nothing", "n=0", "before=x"):
        assert people.api("GET", f"/job-runs?{query}", ADMIN).status_code == 400


def test_who_is_no_administrator_sees_and_changes_nothing(people: People) -> None:
    people.api("POST", "/jobs/gc/runs", ADMIN, {})
    for path in ("/jobs", "/jobs/gc", "/job-runs", "/job-runs/1", "/job-runs/1/log"):
        assert people.api("GET", path, ALICE).status_code == 403
    assert people.api("PATCH", "/jobs/gc", ALICE, {"enabled": False}).status_code == 403
    assert people.api("POST", "/jobs/gc/runs", ALICE, {}).status_code == 403
    assert people.api("DELETE", "/job-runs/1", ALICE).status_code == 403
    assert people.api("GET", "/job-runs/1", ADMIN).get_json()["state"] == "waiting"


def test_the_commands_schedule_run_and_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path, trust_mode="disabled")

    def said(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert world.command("jobs", *arguments) == status
        return capsys.readouterr().out

    world.now -= timedelta(days=400)
    for tag in ("nightly-1", "nightly-2", "1"):
        world.push_image(APP, tag, seed=tag)
    rules = {"rules": [{"tags": "nightly-*", "older_than_days": 30}]}
    assert "disabled" in said("schedule", "prune", "0 4 * * *", "--options", json.dumps(rules))
    assert said("enable", "prune").startswith("prune\t0 4 * * *\tnext ")
    assert json.loads(said("run", "prune", "--dry-run", "--json"))["removed"] == 2
    out = said("run", "prune")
    assert f"{APP}:nightly-1 is removed" in out
    assert '"removed": 2' in out
    assert said("log", "2") == out
    assert [line.split("\t")[:4] for line in said("history").splitlines()] == [
        ["2", "prune", "done", "by (operator)"], ["1", "prune", "done", "by (operator)"],
    ]  # fmt: skip
    assert len(said("history", "gc", "--json")) == 0
    listed = {line.split("\t")[0]: line.split("\t")[3] for line in said("list").splitlines()}
    assert listed["prune"].startswith("last 2 done ")
    assert listed["gc"] == "never ran"
    said("run", "nothing", status=1)
    said("schedule", "gc", "61 * * * *", status=1)
    said("cancel", "1", status=1)
    assert world.get(f"{APP}/tags/list").get_json()["tags"] == ["1"]
    world.database.dispose()
