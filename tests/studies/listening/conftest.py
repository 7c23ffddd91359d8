from pathlib import Path

import pytest
import torch

from descant.audio import Clip
from descant.studies.listening.build import build_test
from descant.studies.listening.files import Key, KeyClip
from descant.studies.listening.sources import find_trials

SYSTEMS = ("zebra", "yak")
RATES_HZ = {"zebra": 16_000, "yak": 22_050}
PROMPTS = ("one", "two", "three")


def tone(frequency_hz: float, rate_hz: int, seconds: float, level: float) -> torch.Tensor:
    """A decaying chord, so that loudness and peaks differ between clips."""
    time_s = torch.arange(round(seconds * rate_hz)) / rate_hz
    chord = sum(torch.sin(2 * torch.pi * frequency_hz * step * time_s) for step in (1, 1.25, 1.5))
    return level * chord[None] * torch.exp(-3 * (time_s % 0.5))


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Two systems with the same prompts at other rates, lengths, levels and seeds, and texts in the tags."""
    root = tmp_path_factory.mktemp("systems")
    for number, system in enumerate(SYSTEMS):
        (root / system).mkdir()
        for index, prompt in enumerate(PROMPTS):
            samples = tone(220 * (index + 1), RATES_HZ[system], 1.0 + 0.2 * number, 0.02 + 0.1 * number)
            info = {"text": f"music for {prompt} </script>", "model": system}
            Clip(samples, RATES_HZ[system], info=info).save(root / system / f"{prompt}-seed{number}.wav")
    (root / "melodies").mkdir()
    Clip(tone(440, 16_000, 0.8, 0.1), 16_000).save(root / "melodies" / "two.wav")
    return {name: root / name for name in (*SYSTEMS, "melodies")}


@pytest.fixture(scope="session")
def built(folders, tmp_path_factory) -> Path:
    """The folder of a test with repeats, an anchor and one melody."""
    out = tmp_path_factory.mktemp("listening") / "test"
    trials, _ = find_trials({name: folders[name] for name in SYSTEMS}, melodies=folders["melodies"])
    build_test(out, trials, seed=3)
    return out


@pytest.fixture(scope="session")
def key() -> Key:
    """A key of three systems and 12 prompts, with four repeats and two anchors."""
    rated = [
        KeyClip(name=f"{system}{prompt}", system=system, prompt=f"p{prompt}", has_melody=prompt < 6)
        for prompt in range(12)
        for system in ("good", "fair", "poor")
    ]
    hidden = [
        KeyClip(
            name=f"{role}{clip.name}",
            system=clip.system,
            prompt=clip.prompt,
            has_melody=clip.has_melody,
            role=role,
            source=clip.name,
        )
        for role, clips in (("repeat", rated[:4]), ("anchor", rated[6:8]))
        for clip in clips
    ]
    return Key(test="abc", systems=("good", "fair", "poor"), clips=(*rated, *hidden))
