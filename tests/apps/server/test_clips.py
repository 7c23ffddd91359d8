"""Clips: their files in every format, what is said about them, how they are found, and what goes when room is short."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
import soundfile

from descant import transcription
from descant.apps.server.peaks import peaks
from descant.audio import read_info
from descant.audio.pcm import from_pcm16
from descant.transcription import network
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of


@pytest.fixture(scope="module")
def clip(fast) -> dict:
    return fast.clip(text="warm lo-fi piano", duration_s=1.0, seed=3)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_every_format_opens_and_carries_its_recipe(fast, clip, format):
    answer = fast.client.get(clip["urls"]["audio"], params={"format": format})
    assert f'filename="warm-lo-fi-piano-s3-{clip["id"][5:9]}.{format}"' in answer.headers["Content-Disposition"]
    info = read_info(io.BytesIO(answer.content))
    assert (info["text"], info["seed"]) == ("warm lo-fi piano", 3)
    if format in ("wav", "flac", "mp3", "ogg", "opus"):
        samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
        assert abs(len(samples) / rate_hz - 1.0) < 0.08


def test_the_samples_of_lossless_files_are_those_of_the_stream(fast, clip):
    for format in ("wav", "flac"):
        content = fast.client.get(clip["urls"]["audio"], params={"format": format}).content
        assert soundfile.read(io.BytesIO(content), dtype="int16")[0].astype("<i2").tobytes() == pcm_of(3, [], RATE_HZ)


def test_parts_and_levels_are_cut_and_set(fast, clip):
    part = fast.client.get(clip["urls"]["audio"], params={"start_s": 0.25, "end_s": 0.5}).content
    assert soundfile.read(io.BytesIO(part), dtype="int16")[0].tobytes() == pcm_of(3, [], RATE_HZ)[16_000:32_000]
    quiet = fast.client.get(clip["urls"]["audio"], params={"loudness_lufs": -30}).content
    loud = fast.client.get(clip["urls"]["audio"], params={"loudness_lufs": -20}).content
    power = [np.square(soundfile.read(io.BytesIO(one))[0]).mean() for one in (loud, quiet)]
    assert power[0] / power[1] == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(
    ("part", "detail"),
    [
        ({"start_s": 1.0}, "start_s: must lie within the 1.00 s of the clip"),
        ({"start_s": 7, "end_s": 8}, "start_s: must lie within the 1.00 s of the clip"),
        ({"start_s": 0.5, "end_s": 0.25}, "end_s: must be at least a sample after start_s"),
    ],
    ids=str,
)
def test_a_part_that_is_not_there_is_blamed_on_the_second_at_fault(fast, clip, part, detail):
    refused = fast.client.get(clip["urls"]["audio"], params=part)
    assert (refused.status_code, refused.json()["detail"]) == (422, detail)


def test_loops_say_where_they_begin_and_end(fast, clip):
    wav = fast.client.get(clip["urls"]["audio"], params={"loop": True}).content
    chunk = wav[wav.index(b"smpl") :]
    assert struct.unpack("<I", chunk[4:8])[0] == 60
    loops, _, _, kind, start, end = struct.unpack("<6I", chunk[36:60])
    assert (loops, kind, start, end) == (1, 0, 0, RATE_HZ - 1)
    assert struct.unpack("<I", wav[4:8])[0] == len(wav) - 8
    assert soundfile.info(io.BytesIO(wav)).frames == RATE_HZ
    ogg = fast.client.get(clip["urls"]["audio"], params={"loop": True, "format": "ogg"}).content
    assert b"LOOPSTART=0" in ogg
    assert f"LOOPLENGTH={RATE_HZ}".encode() in ogg
    refused = fast.client.get(clip["urls"]["audio"], params={"loop": True, "format": "mp3"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/loop")


@pytest.mark.skipif(not transcription.is_installed(), reason="the extra midi is not installed")
def test_the_notes_of_a_clip_are_a_midi_file_with_its_tempo(fast):
    """The signal rises by a semitone every second, from the A below middle C."""
    mido = pytest.importorskip("mido")
    made = fast.clip(text="rising tones", duration_s=3.0, seed=12)
    answer = fast.client.get(made["urls"]["midi"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/midi")
    assert f'filename="rising-tones-s12-{made["id"][5:9]}.mid"' in answer.headers["Content-Disposition"]
    file = mido.MidiFile(file=io.BytesIO(answer.content))
    (track,) = file.tracks
    assert {57, 58, 59} <= {message.note for message in track if message.type == "note_on"}
    assert track.name == "rising tones"
    assert mido.tempo2bpm(track[1].tempo) == 120.0
    assert file.length == pytest.approx(3.0, abs=0.01)
    etag = {"If-None-Match": answer.headers["ETag"]}
    assert fast.client.get(made["urls"]["midi"], headers=etag).status_code == 304
    assert fast.client.get("/v1/server").json()["extras"]["midi"] is True


def test_a_server_that_finds_no_notes_says_what_to_install(fast, clip, monkeypatch):
    network._session.cache_clear()
    monkeypatch.setattr(network, "_weights_file", lambda: None)
    answer = fast.client.get(clip["urls"]["midi"])
    assert (answer.status_code, answer.json()["type"]) == (501, "/problems/extra-missing")
    assert 'pip install "descant[midi]"' in answer.json()["detail"]
    assert fast.client.get("/v1/server").json()["extras"]["midi"] is False


def test_ranges_and_etags(fast, clip):
    whole = fast.client.get(clip["urls"]["audio"])
    assert fast.client.get(clip["urls"]["audio"], headers={"Range": "bytes=10-19"}).content == whole.content[10:20]
    assert fast.client.get(clip["urls"]["audio"], headers={"Range": "bits=10-19"}).content == whole.content
    etag = {"If-None-Match": whole.headers["ETag"]}
    assert fast.client.get(clip["urls"]["audio"], headers=etag).status_code == 304


@pytest.mark.parametrize(
    ("ranges", "status", "slug"),
    [
        ("bytes=99999999-", 416, "range"),
        ("bytes=-0", 416, "range"),
        ("bytes=5-2", 400, "malformed"),
        ("bytes=abc", 400, "malformed"),
    ],
)
@pytest.mark.parametrize("file", ["audio", "codes", "midi"])
def test_ranges_that_a_file_does_not_have_are_problems(fast, clip, file, ranges, status, slug):
    """They were once refused in the plain text of the framework."""
    answer = fast.client.get(clip["urls"][file], headers={"Range": ranges})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (answer.json()["type"], answer.json()["errors"][0]["pointer"]) == (f"/problems/{slug}", "/range")
    size = len(fast.client.get(clip["urls"][file]).content)
    assert answer.headers.get("Content-Range") == (f"bytes */{size}" if status == 416 else None)


def test_mp3_streams_hold_all_of_the_music(fast, clip):
    content = fast.client.get(clip["urls"]["stream"], params={"format": "mp3"}).content
    samples, rate_hz = soundfile.read(io.BytesIO(content))
    assert rate_hz == RATE_HZ
    assert RATE_HZ <= len(samples) <= RATE_HZ + 3 * 1_152


def test_peaks_outline_the_wave(fast, clip):
    answer = fast.client.get(clip["urls"]["peaks"], params={"per_s": 10}).json()
    assert (answer["version"], answer["length"], answer["samples_per_pixel"]) == (2, 10, 3_200)
    wave = np.frombuffer(pcm_of(3, [], RATE_HZ), dtype="<i2").reshape(10, -1) / 2**15
    expected = np.rint(np.stack([wave.min(axis=1), wave.max(axis=1)], axis=1) * 127)
    assert np.array_equal(np.array(answer["data"]).reshape(10, 2), expected)


def test_peaks_of_a_clip_that_has_begun_without_a_sample_are_empty():
    """The request failed, and the page showed its number in the log."""
    assert peaks(from_pcm16(b"", 1), RATE_HZ, 10)["data"] == []


def test_a_recipe_makes_the_same_music_again(fast, clip):
    recipe = fast.client.get(clip["urls"]["recipe"]).json()
    checked = fast.client.post("/v1/recipes/check", json=recipe).json()
    assert (checked["is_exact"], checked["notes"]) == (True, [])
    again = fast.clip(**checked["request"])
    for name in ("stream", "codes"):
        assert fast.client.get(again["urls"][name]).content == fast.client.get(clip["urls"][name]).content
    other = fast.client.post("/v1/recipes/check", json={**recipe, "model_fingerprint": "other"}).json()
    assert other["is_exact"] is False


def test_what_is_said_about_a_clip_is_kept_and_found(fast):
    clip = fast.clip(text="zither dance", duration_s=0.2)
    said = {"title": "Für Elise <script>", "favourite": True, "rating": 4, "tags": ["scene 3", "x"], "notes": "yes"}
    changed = fast.client.patch(clip["urls"]["self"], json=said)
    assert {name: changed.json()[name] for name in said} == said
    assert fast.client.get(clip["urls"]["self"]).headers["ETag"] == changed.headers["ETag"]
    stale = fast.client.patch(clip["urls"]["self"], json={"rating": 1}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412

    def found(**query) -> list[str]:
        return [one["id"] for one in fast.client.get("/v1/clips", params=query).json()["items"]]

    for query in ({"q": "zith"}, {"q": "elise fur"}, {"q": "scene zither"}, {"tag": "scene 3"}, {"favourite": True}):
        assert found(**query) == [clip["id"]], query
    assert found(q='elise" OR "zebra') == []
    assert found(sort="rating")[0] == clip["id"]
    assert fast.client.delete(clip["urls"]["self"]).status_code == 204
    assert found(q="zither") == []
    assert found(q="zither", trashed=True) == [clip["id"]]
    assert fast.client.post(f"{clip['urls']['self']}/restore").json()["trashed_at"] is None
    assert fast.client.delete(clip["urls"]["self"], params={"forever": True}).status_code == 204
    assert fast.client.get(clip["urls"]["self"]).status_code == 404
    assert not list(fast.config.folder.rglob(f"{clip['id']}*"))


@pytest.mark.parametrize("sort", ["newest", "oldest", "duration", "rating"])
def test_pages_neither_repeat_nor_skip_while_clips_are_added(fast, sort):
    fast.made(text="pager", duration_s=0.1, count=5)
    before = {one["id"] for one in fast.client.get("/v1/clips", params={"q": "pager"}).json()["items"]}
    listed, cursor = [], None
    while cursor is not None or not listed:
        query = {"q": "pager", "sort": sort, "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = fast.client.get("/v1/clips", params=query).json()
        listed += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if len(listed) == 2:
            fast.made(text="pager", duration_s=0.1)
    assert before <= set(listed)
    assert len(listed) == len(set(listed))


def test_collections_and_their_archive(fast, clip):
    other = fast.clip(duration_s=0.2)
    made = fast.client.post("/v1/collections", json={"name": "Scene", "clip_ids": [clip["id"], other["id"]]})
    assert made.status_code == 201
    url = f"/v1/collections/{made.json()['id']}"
    packed = zipfile.ZipFile(io.BytesIO(fast.client.get(f"{url}/archive").content))
    assert [name.split("-")[0] for name in packed.namelist()] == ["001", "002"]
    assert fast.client.patch(url, json={"clip_ids": [other["id"]]}).json()["clip_ids"] == [other["id"]]
    found = fast.client.get("/v1/clips", params={"collection_id": made.json()["id"]}).json()["items"]
    assert [one["id"] for one in found] == [other["id"]]
    assert fast.client.delete(url).status_code == 204
    assert fast.client.get(other["urls"]["self"]).status_code == 200


def test_presets_are_kept_as_they_were_given(fast):
    request = {"text": "piano", "guidance": {"scale": 5.0}}
    assert fast.client.put("/v1/presets/lo-fi", json={"request": request}).json() == {
        "name": "lo-fi",
        "request": request,
    }
    assert fast.client.get("/v1/presets").json()["items"] == [{"name": "lo-fi", "request": request}]
    assert fast.client.delete("/v1/presets/lo-fi").status_code == 204
    assert fast.client.delete("/v1/presets/lo-fi").status_code == 404


def test_a_listening_test_is_blind_ordered_for_each_participant_and_counted(fast):
    clips = [fast.clip(duration_s=0.3, seed=seed)["id"] for seed in range(3)]
    test = fast.client.post("/v1/listening-tests", json={"name": "which?", "clip_ids": clips}).json()
    url = f"/v1/listening-tests/{test['id']}"
    orders = []
    for participant in ("ann", "ben", "cleo"):
        given = fast.client.get(f"{url}/trials", params={"participant": participant}).json()
        assert given == fast.client.get(f"{url}/trials", params={"participant": participant}).json()
        assert not any(clip in json.dumps(given) for clip in clips)
        orders.append([one["trial"] for one in given["items"]])
        for one in given["items"]:
            heard = {}
            for letter in one["letters"]:
                audio = fast.client.get(
                    f"{url}/trials/{one['trial']}/{letter}/audio", params={"participant": participant}
                )
                assert "Content-Disposition" not in audio.headers
                heard[letter] = np.abs(np.fft.rfft(soundfile.read(io.BytesIO(audio.content))[0][:6_400])).argmax()
            # Everyone prefers the higher pitch, which has the larger seed.
            answer = {"participant": participant, "trial": one["trial"], "answer": max(heard, key=heard.get)}
            assert fast.client.post(f"{url}/answers", json=answer).status_code == 204
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    results = fast.client.get(f"{url}/results").json()
    assert (results["participants"], results["answers"]) == (3, 9)
    assert [(one["clip_id"], one["score"]) for one in results["clips"]] == [
        (clips[2], 1),
        (clips[1], 0.5),
        (clips[0], 0),
    ]
    wrong = fast.client.post(f"{url}/answers", json={"participant": "ann", "trial": 0, "answer": "c"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/answer")


def test_audio_that_goes_while_it_is_asked_for_is_said_to_be_gone(tmp_path):
    with serving(tmp_path, pace=50.0) as server:
        gone, kept = (server.clip(duration_s=0.5, seed=seed) for seed in (1, 2))
        sound = server.client.get(kept["urls"]["audio"]).content
        upload = server.client.post("/v1/uploads", files={"file": ("a.wav", sound)}).json()
        collection = server.client.post("/v1/collections", json={"name": "both", "clip_ids": [gone["id"], kept["id"]]})
        # The rows still have it, as for a request that looked a moment earlier.
        for name in (gone["id"], upload["id"]):
            [file] = tmp_path.rglob(f"{name}.flac")
            file.unlink()
        for url, status, slug in (
            (gone["urls"]["audio"], 410, "audio-dropped"),
            (f"/v1/uploads/{upload['id']}/audio", 404, "not-found"),
        ):
            answer = server.client.get(url)
            assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
        archive = server.client.get(f"/v1/collections/{collection.json()['id']}/archive").content
        [name] = zipfile.ZipFile(io.BytesIO(archive)).namelist()
        assert kept["id"][5:9] in name


def test_when_room_is_short_old_audio_goes_and_favourites_and_codes_stay(tmp_path):
    with serving(tmp_path, pace=50.0, quota_bytes=50_000) as server:
        clips = []
        for seed in range(6):
            clips.append(server.clip(duration_s=1.0, seed=seed))
            if seed == 0:
                server.client.patch(clips[0]["urls"]["self"], json={"favourite": True})
        server.client.post("/v1/jobs", json={"duration_s": 0.1})
        wait_for(lambda: not server.client.get(clips[1]["urls"]["self"]).json()["audio_kept"])
        assert server.client.get(clips[0]["urls"]["audio"]).status_code == 200
        dropped = server.client.get(clips[1]["urls"]["audio"])
        assert (dropped.status_code, dropped.json()["type"]) == (410, "/problems/audio-dropped")
        assert server.client.get(clips[1]["urls"]["codes"]).status_code == 200
        by_kind = server.client.get("/v1/server").json()["storage"]["by_kind"]
        assert by_kind["audio"] + by_kind["codes"] < 55_000
