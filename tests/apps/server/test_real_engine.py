"""The service over a real model: what it makes is what the library makes of the same request."""

import io
import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import torch

import descant
from descant.adapters import Adapter, LoraConfig, new_adapter
from descant.apps.cli.codec import header_of
from descant.apps.server.config import engine_command
from descant.apps.server.engine.messages import Message
from descant.apps.server.engine.worker import Worker
from descant.apps.server.schemas import JobRequest
from descant.audio import Clip, read_info
from descant.audio.pcm import pcm16, soft_limited
from descant.best_of import Beginning, Choice
from descant.checkpoints.adapters import save_adapter
from descant.checkpoints.codes import load_codes
from descant.codec import spec
from descant.provenance import request_from_info
from tests.apps.server.conftest import Running, wait_for
from tests.apps.server.paced_server import paced_config

UNKNOWN = "upl_1111111111111111111111"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = paced_config(tmp_path_factory.mktemp("real"), limits={"upload_min_s": 0.0})
    command = engine_command("tiny", "cpu", "fp32", config.adapters)
    running = Running(replace(config, engine=command, model="tiny"))
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def model() -> descant.MusicGen:
    return descant.load("tiny", device="cpu", precision="fp32")


def codes_of(real: Running, clip: dict, folder: Path) -> torch.Tensor:
    file = folder / "codes.safetensors"
    file.write_bytes(real.client.get(clip["urls"]["codes"]).content)
    return load_codes(file)[0]


def test_variations_are_the_music_of_their_seeds_streamed_and_stored(real, model, tmp_path):
    job = real.submit(text="drums", duration_s=0.8, seed=5, count=3, sections=[{"start_s": 0.4, "text": "flute"}])
    streams = [real.client.get(clip["urls"]["stream"]).content for clip in job["clips"]]
    wait_for(lambda: real.job(job)["state"] == "succeeded")
    for clip, stream in zip(real.job(job)["clips"], streams, strict=True):
        alone = model.generate("drums", timeline=((0.4, "flute"),), duration_s=0.8, seed=clip["seed"])
        assert torch.equal(codes_of(real, clip, tmp_path), alone.codes)
        samples = np.frombuffer(stream, dtype="<i2")
        expected = np.frombuffer(pcm16(soft_limited(alone.samples)), dtype="<i2")
        assert np.abs(samples.astype(int) - expected).max() <= 4
        content = real.client.get(clip["urls"]["audio"]).content
        assert soundfile.read(io.BytesIO(content), dtype="int16")[0].tobytes() == stream
        again = model.generate(request_from_info(read_info(io.BytesIO(content))))
        assert torch.equal(again.codes, alone.codes)


def test_continuing_keeps_codes_and_samples(real, tmp_path):
    clip = real.clip(text="drums", duration_s=0.8, seed=1)
    longer = real.clip(text="flute", duration_s=1.4, seed=2, continue_from={"clip_id": clip["id"], "at_s": 0.5})
    assert torch.equal(codes_of(real, longer, tmp_path)[:, :25], codes_of(real, clip, tmp_path)[:, :25])
    kept = 2 * 16_000
    whole, first = (real.client.get(one["urls"]["stream"]).content for one in (longer, clip))
    assert whole[:kept] == first[:kept]
    assert longer["duration_s"] == 1.4


def test_a_loop_comes_whole(real, model):
    job = real.submit(text="bells, 240 bpm", seed=3, loop={"bars": 1})
    stream = real.client.get(job["clips"][0]["urls"]["stream"]).content
    expected = model.generate("bells, 240 bpm", loop_bars=1, seed=3)
    assert len(stream) == 2 * len(expected)
    samples = np.frombuffer(stream, dtype="<i2").astype(int)
    assert np.abs(samples - np.frombuffer(pcm16(soft_limited(expected.samples)), dtype="<i2")).max() <= 4


@pytest.mark.parametrize(
    ("fields", "status", "pointer"),
    [
        ({"text": "word " * 390}, 422, "/text"),
        ({"negative_text": "word " * 390}, 422, "/negative_text"),
        ({"sections": [{"start_s": 0.5, "text": "word " * 390}]}, 422, "/sections"),
        ({"tempo": 120}, 422, "/tempo"),
        ({"chords": "C:0"}, 422, "/chords"),
        ({"guidance": {"text_scale": 2.0}}, 422, "/guidance/text_scale"),
        ({"guidance": {"melody_scale": 2.0}}, 422, "/guidance/melody_scale"),
        ({"melody": {"upload_id": UNKNOWN}}, 422, "/melody"),
        ({"continue_from": {"upload_id": UNKNOWN}}, 404, "/continue_from/upload_id"),
    ],
    ids=str,
)
def test_what_the_model_refuses_is_refused_before_a_job_is_queued(real, fields, status, pointer):
    """It was once queued, and then a failed job."""
    before = ids(real.client)
    answer = real.client.post("/v1/jobs", json={"text": "drums", "duration_s": 1.0, **fields})
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert ids(real.client) == before
    recipe = real.client.post("/v1/recipes/check", json={"request": {"text": "drums", "duration_s": 1.0, **fields}})
    assert (recipe.status_code, recipe.json()["errors"]) == (status, answer.json()["errors"])


def ids(client: httpx.Client) -> list[str]:
    """Of all jobs; clips of earlier ones may still be measured."""
    return [job["id"] for job in client.get("/v1/jobs").json()["items"]]


def test_a_prompt_that_is_shorter_than_a_frame_is_refused_before_a_job_is_queued(real):
    content = Clip(torch.zeros(1, 300), 32_000).to_bytes("wav")
    upload = real.client.post("/v1/uploads", files={"file": ("a.wav", content)}).json()
    refused = real.client.post("/v1/jobs", json={"continue_from": {"upload_id": upload["id"]}})
    assert refused.json()["errors"][0]["pointer"] == "/continue_from"


def test_adapters_are_named_and_used(real, model, tmp_path):
    config = LoraConfig(rank=2)
    new = new_adapter(model.model, config, torch.Generator().manual_seed(0))
    loud = Adapter({n: tuple(replace(c, up=torch.ones_like(c.up)) for c in parts) for n, parts in new.changes.items()})
    save_adapter(loud, config, real.config.adapters / "loud")
    (real.config.adapters / "no adapter").mkdir()
    assert real.client.get("/v1/adapters").json()["items"] == [{"name": "loud"}]
    asked = {"text": "drums", "duration_s": 0.4, "seed": 1, "stride_s": 6.0}
    clip = real.clip(**asked, adapters=[{"name": "loud", "strength": 0.5}])
    used = model.load_adapter(real.config.adapters / "loud")
    alone = model.generate("drums", duration_s=0.4, seed=1, stride_s=6.0, adapters=[(used, 0.5)])
    assert torch.equal(codes_of(real, clip, tmp_path), alone.codes)
    assert not torch.equal(alone.codes, model.generate("drums", duration_s=0.4, seed=1).codes)
    info = read_info(io.BytesIO(real.client.get(clip["urls"]["audio"]).content))
    assert (info["stride_s"], info["adapters"][0]["name"], info["adapters"][0]["strength"]) == (6.0, "loud", 0.5)


@pytest.mark.parametrize("name", ["quiet", "../adapters/loud", "/etc", "no adapter", ""])
def test_adapters_are_names_of_the_servers_folder_and_never_paths(real, name):
    refused = real.client.post("/v1/jobs", json={"adapters": [{"name": name}]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/adapters")
    assert str(real.config.folder) not in refused.text


def test_the_best_candidate_becomes_the_clip(model, monkeypatch, tmp_path):
    expected = model.generate("bells, 240 bpm", loop_bars=1, seed=7)

    def third(choice: Choice) -> Clip:
        return replace(choice._clips[2], info={**choice._clips[2].info, "best_of": 3})

    monkeypatch.setattr(Choice, "best", third)
    inbox: queue.Queue[Message | None] = queue.Queue()
    sent: list[Message] = []

    def send(message: Message) -> None:
        sent.append(message)
        if message.kind in ("done", "failed"):
            inbox.put(None)

    asked = JobRequest(text="bells, 240 bpm", loop={"bars": 1}, seed=5, best_of=3, analyse=False).model_dump()
    asked |= {"sampling": {}, "guidance": {}}
    inbox.put(Message("make", "clip", {"request": asked, "sources": {}, "analyse": False}))
    Worker(model, tmp_path, inbox, send).run()
    audio, done = [next(one for one in sent if one.kind == kind) for kind in ("audio", "done")]
    assert (done.fields["info"]["seed"], done.fields["info"]["best_of"]) == (7, 3)
    samples = np.frombuffer(audio.payloads["pcm"], dtype="<i2").astype(int)
    assert np.abs(samples - np.frombuffer(pcm16(soft_limited(expected.samples)), dtype="<i2")).max() <= 4


def test_a_candidate_that_stands_still_ends_early_and_its_clip_is_that_of_the_library(model, monkeypatch, tmp_path):
    def hear(self: Choice, place: int, beginning: Clip) -> None:
        assert beginning.duration_s == 2.0
        self._beginnings[place] = Beginning(True, 2.0 if place == 0 else 0.5, 8)

    monkeypatch.setattr(Choice, "hear", hear)
    inbox: queue.Queue[Message | None] = queue.Queue()
    sent: list[Message] = []

    def send(message: Message) -> None:
        sent.append(message)
        if message.kind in ("done", "failed"):
            inbox.put(None)

    asked = JobRequest(text="bells, 240 bpm", duration_s=8.0, seed=5, best_of=3, analyse=False).model_dump()
    asked |= {"sampling": {}, "guidance": {}}
    inbox.put(Message("make", "clip", {"request": asked, "sources": {}, "analyse": False}))
    Worker(model, tmp_path, inbox, send).run()
    done = next(one for one in sent if one.kind in ("done", "failed"))
    info = done.fields["info"]
    assert info["dropped"] == [{"seed": 5, "reason": "one held sound"}]
    local = model.generate("bells, 240 bpm", duration_s=8.0, seed=5, best_of=3).info
    assert [info[name] for name in ("seed", "dropped")] == [local[name] for name in ("seed", "dropped")]
    assert info["scores"][0] is local["scores"][0] is None
    assert info["scores"][1:] == pytest.approx(local["scores"][1:], abs=0.05)


def test_a_choice_that_nothing_is_chosen_by_is_refused(real):
    refused = real.client.post("/v1/jobs", json={"text": "a drone", "best_of": 2})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/best_of")


def test_a_recipe_has_every_setting_of_the_model_and_is_accepted_again(real):
    clip = real.clip(text="drums", duration_s=0.4, sampling={"hold_penalty": 0.5})
    recipe = real.client.get(clip["urls"]["recipe"]).json()
    assert recipe["request"]["sampling"]["hold_penalty"] == 0.5
    assert real.client.post("/v1/recipes/check", json=recipe).json()["is_exact"]


def test_the_codecs_fingerprint_is_computed_once_for_all_clips(model, monkeypatch, tmp_path):
    """It reads all weights, a third of a second, in which no other clip went on."""
    found, codec_spec = [], spec.codec_spec
    monkeypatch.setattr(spec, "codec_spec", lambda codec: (found.append(codec), codec_spec(codec))[1])
    inbox: queue.Queue[Message | None] = queue.Queue()
    done: dict[str, Message] = {}

    def send(message: Message) -> None:
        if message.kind in ("done", "failed"):
            done[message.clip_id] = message
        if len(done) == 2:
            inbox.put(None)

    for name, duration_s in (("short", 0.1), ("long", 0.3)):
        asked = JobRequest(text="drums", duration_s=duration_s, seed=1, analyse=False).model_dump()
        asked |= {"sampling": {}, "guidance": {}}
        inbox.put(Message("make", name, {"request": asked, "sources": {}, "analyse": False}))
    Worker(model, tmp_path, inbox, send).run()
    assert len(found) == 1
    for name, duration_s in (("short", 0.1), ("long", 0.3)):
        file = tmp_path / name
        file.write_bytes(done[name].payloads["codes"])
        expected = header_of(model, round(duration_s * model.sample_rate_hz))
        assert load_codes(file)[1] == expected
