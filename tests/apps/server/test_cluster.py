"""Engines as replicas of Ray Serve: the same streams as from one process, also if a replica is killed."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.apps.server.conftest import Running, serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of

pytest.importorskip("ray", reason="pip install descant[cluster]")
# Ray starts a dozen processes, and gives up after 30 s where a machine is busy; its imports warn.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STARTING_S = 240.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with two replicas on this machine."""
    settings = {"pace": 2.0, "cluster": "local", "replicas": 2, "limits": {"slots": 2}}
    with serving(tmp_path_factory.mktemp("cluster"), starting_s=STARTING_S, **settings) as one:
        wait_for(lambda: num_slots(one) == 4, STARTING_S)
        yield one


def num_slots(server: Running) -> int:
    return server.client.get("/v1/server").json()["slots"]["total"]


def test_a_killed_replica_is_a_pause_and_no_other_sound(cluster):
    job = cluster.submit(duration_s=24.0, seed=1, count=4)
    ids = [clip["id"] for clip in job["clips"]]
    wait_for(lambda: all(clip["duration_s"] > 1.0 for clip in cluster.job(job)["clips"]))
    pids = [cluster.service.production.host.link.pid_of(id) for id in ids]
    assert sorted(map(pids.count, pids)) == [2, 2, 2, 2]
    os.kill(pids[0], signal.SIGKILL)
    streams = [cluster.client.get(clip["urls"]["stream"], timeout=STARTING_S).content for clip in job["clips"]]
    assert streams == [pcm_of(seed, [], 24 * RATE_HZ) for seed in range(1, 5)]
    assert cluster.made(text="once more")["state"] == "succeeded"
    assert cluster.job(job)["state"] == "succeeded"
    assert "descant_engine_deaths_total 1.0" in cluster.client.get("/metrics").text
    wait_for(lambda: num_slots(cluster) == 4, STARTING_S)


def test_clips_are_cancelled_changed_checked_and_measured_by_the_replica_that_makes_them(cluster):
    refused = cluster.client.post("/v1/jobs", json={"text": "[refuse]"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/text")
    jobs = [cluster.submit(duration_s=60.0, seed=seed) for seed in range(4)]
    wait_for(lambda: all(cluster.job(job)["clips"][0]["duration_s"] > 0.5 for job in jobs))
    section = {"start_s": 55.0, "text": "later"}
    changed = cluster.client.patch(jobs[2]["urls"]["self"], json={"sections": [section]})
    assert changed.json()["request"]["sections"] == [section]
    for job in jobs:
        cluster.client.post(job["urls"]["cancel"])
    wait_for(lambda: all(cluster.job(job)["state"] == "cancelled" for job in jobs))
    for seed, job in enumerate(jobs):
        clip = cluster.job(job)["clips"][0]
        kept = cluster.client.get(clip["urls"]["stream"]).content
        assert RATE_HZ < len(kept) < 100 * RATE_HZ
        assert kept == pcm_of(seed, [], len(kept) // 2)
    clip = cluster.clip(duration_s=1.0, seed=9)
    wait_for(lambda: cluster.client.get(f"/v1/clips/{clip['id']}").json()["measured"] is not None)
