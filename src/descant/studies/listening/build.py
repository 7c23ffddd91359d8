"""Building a listening test: blind names, clips that differ in nothing but their music, the page and the key.

OUT/
  key.json            which blind name is whose clip; stays with whoever runs the test
  page/
    index.html        what listeners open; it works without a server
    clips/4f0c….flac  blind names, in random order
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from descant import config
from descant.atomic import replacing_folder
from descant.audio import Clip, audio_header
from descant.audio.encode import encode
from descant.audio.limiter import match_loudness
from descant.errors import AudioError, InvalidRequest
from descant.html_pages import render
from descant.studies.listening.files import HIGHEST, KEY_NAME, LOWEST, VERSION, Key, KeyClip, Role
from descant.studies.listening.sources import Trial

LOUDNESS_LUFS = -14.0
"""The loudness of all clips (arXiv 2306.05284, section 3.2)."""

MAX_TRUE_PEAK_DBTP = -1.0
FADE_S = 0.02
"""Of the end of every clip, so that one that was cut does not end with a click."""

BITS_OF_NAME = 48
FORMAT = "flac"
Report = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class BuiltTest:
    """What was built. ``limited_db`` has the largest reduction of each clip that needed the limiter, by its name."""

    key: Key
    duration_s: float
    limited_db: Mapping[str, float]


@dataclass(frozen=True)
class _Format:
    """What all clips of a test have in common: a rate or a length could give a system away."""

    sample_rate_hz: int
    num_channels: int
    durations_s: Mapping[str, float]


def build_test(
    folder: Path,
    trials: Sequence[Trial],
    *,
    seed: int = 0,
    duration_s: float | None = None,
    num_repeats: int = 2,
    num_anchors: int = 1,
    report: Report = lambda _done, _whole: None,
) -> BuiltTest:
    """Writes a listening test to a folder that is new or empty.

    All clips get the same rate, number of channels and loudness, and those of a prompt the same length, that of the
    shortest.

    Args:
        duration_s: how much of each clip to play, from its start; by default all.
        num_repeats: how many clips are played twice, to find listeners who contradict themselves.
        num_anchors: how many clips are played once more under noise as loud as their music, to find listeners who do
            not hear it.

    Raises:
        InvalidRequest: there are fewer clips than repeats or anchors, or the duration is not above 0.
        AudioError: a file cannot be read, is silent, or cannot be brought to the loudness.
        CheckpointError: the folder holds something, or cannot be written.
    """
    if duration_s is not None and not 0 < duration_s < float("inf"):
        raise InvalidRequest(f"duration_s={duration_s:g}: must be above 0")
    key = _make_key(trials, Random(seed), num_repeats, num_anchors)
    by_prompt = {trial.prompt: trial for trial in trials}
    common = _common_format(trials, duration_s)
    rng = Random(f"melodies {seed}")
    melodies = {trial.prompt: _blind_name(rng) for trial in trials if trial.melody is not None}
    limited_db = {}
    with replacing_folder(folder, is_replaceable=lambda old: not any(old.iterdir())) as new:
        clips = new / "page" / "clips"
        clips.mkdir(parents=True)
        # In the order of the blind names, so that times of writing tell nothing either.
        for number, clip in enumerate(sorted(key.clips, key=lambda clip: clip.name)):
            report(number, len(key.clips) + len(melodies))
            file = by_prompt[clip.prompt].files[clip.system]
            content, reduction_db = _render(file, clip.prompt, common, seed if clip.role == "anchor" else None)
            (clips / f"{clip.name}.{FORMAT}").write_bytes(content)
            if reduction_db:
                limited_db[clip.name] = reduction_db
        for prompt, name in melodies.items():
            melody = by_prompt[prompt].melody
            assert melody is not None
            (clips / f"{name}.{FORMAT}").write_bytes(_render(melody, prompt, common, None)[0])
        (new / "page" / "index.html").write_text(_page(key, by_prompt, melodies), encoding="utf-8")
        config.write_json(key, new / KEY_NAME)
    return BuiltTest(
        key=key, duration_s=sum(common.durations_s[clip.prompt] for clip in key.clips), limited_db=limited_db
    )


def _make_key(trials: Sequence[Trial], rng: Random, num_repeats: int, num_anchors: int) -> Key:
    rated = [
        KeyClip(name=_blind_name(rng), system=system, prompt=trial.prompt, has_melody=trial.melody is not None)
        for trial in trials
        for system in trial.files
    ]
    for name, count in (("num_repeats", num_repeats), ("num_anchors", num_anchors)):
        if not 0 <= count <= len(rated):
            raise InvalidRequest(f"{name}={count}: allowed are 0 to the number of clips, {len(rated)}")
    hidden = _hidden(rng, rated, "repeat", num_repeats) + _hidden(rng, rated, "anchor", num_anchors)
    return Key(test=_blind_name(rng), systems=tuple(trials[0].files), clips=(*rated, *hidden))


def _hidden(rng: Random, rated: Sequence[KeyClip], role: Role, count: int) -> list[KeyClip]:
    return [
        replace(clip, name=_blind_name(rng), role=role, source=clip.name) for clip in rng.sample(list(rated), count)
    ]


def _blind_name(rng: Random) -> str:
    return f"{rng.getrandbits(BITS_OF_NAME):0{BITS_OF_NAME // 4}x}"


def _common_format(trials: Sequence[Trial], duration_s: float | None) -> _Format:
    headers = {trial.prompt: [audio_header(file) for file in trial.files.values()] for trial in trials}
    every = [header for group in headers.values() for header in group]
    return _Format(
        sample_rate_hz=max(header.sample_rate_hz for header in every),
        num_channels=min(2, max(header.num_channels for header in every)),
        durations_s={
            prompt: min([header.duration_s for header in group] + ([] if duration_s is None else [duration_s]))
            for prompt, group in headers.items()
        },
    )


def _render(file: Path, prompt: str, common: _Format, noise_seed: int | None) -> tuple[bytes, float]:
    """The bytes of a clip without any tags, and the limiter's reduction in dB; with noise if it has a seed."""
    clip = Clip.read(file, duration_s=common.durations_s[prompt])
    clip = clip.to_channels(common.num_channels).resample(common.sample_rate_hz)
    samples = clip.samples.clone()
    if noise_seed is not None:
        generator = torch.Generator(device="cpu").manual_seed(noise_seed)
        samples += samples.square().mean().sqrt() * torch.randn(samples.shape, generator=generator)
    length = min(samples.shape[1], max(1, round(FADE_S * clip.sample_rate_hz)))
    samples[:, -length:] *= torch.linspace(1, 0, length)
    try:
        level, reduction_db = match_loudness(Clip(samples, clip.sample_rate_hz), LOUDNESS_LUFS, MAX_TRUE_PEAK_DBTP)
    except AudioError as error:
        raise AudioError(f"{str(file)!r}: {error}") from error
    return encode(level.samples, level.sample_rate_hz, FORMAT), reduction_db


def _page(key: Key, by_prompt: Mapping[str, Trial], melodies: Mapping[str, str]) -> str:
    test: dict[str, Any] = {
        "version": VERSION,
        "test": key.test,
        "folder": "clips",
        "format": FORMAT,
        "lowest": LOWEST,
        "highest": HIGHEST,
        "clips": [
            {"name": clip.name, "text": by_prompt[clip.prompt].text, "melody": melodies.get(clip.prompt)}
            for clip in sorted(key.clips, key=lambda clip: clip.name)
        ],
    }
    return render("studies/listening/page.html", test=test)
