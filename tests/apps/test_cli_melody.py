"""``generate --melody``: a file that changes the music, and that the music can be made again without."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from descant.checkpoints.codes import load_codes
from descant.checkpoints.untrained import save_untrained
from descant.conditioning.chroma import MelodyConfig
from descant.presets import tiny


@pytest.fixture(scope="module")
def melody_folder(tmp_path_factory):
    base = tiny()
    transformer = replace(base.lm.transformer, has_cross_attention=False)
    melody = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11)
    folder = tmp_path_factory.mktemp("melody") / "model"
    save_untrained(replace(base, lm=replace(base.lm, transformer=transformer), melody=melody), folder)
    return folder


def test_two_melodies_give_two_pieces_and_each_is_made_again_from_its_own_file(run, melody_folder, folder):
    codes = {}
    for name, rate_hz in (("e", 330.0), ("a", 440.0)):
        samples = 0.5 * np.sin(2 * np.pi * rate_hz * np.arange(16_000) / 16_000)
        soundfile.write(f"{name}.wav", samples, 16_000)
        made = ("--model", melody_folder, "-d", "0.2", "--seed", "1", "-o", f"out-{name}.wav")
        outcome = run("generate", "x", *made, "--melody", f"{name}.wav", "--save-codes", f"{name}.safetensors")
        assert outcome.code == 0, outcome.err
        (folder / f"{name}.wav").unlink()
        again = run(
            "regenerate", f"out-{name}.wav", "--model", melody_folder, "--save-codes", f"again-{name}.safetensors"
        )
        assert again.code == 0, again.err
        codes[name] = load_codes(folder / f"{name}.safetensors")[0]
        assert (load_codes(folder / f"again-{name}.safetensors")[0] == codes[name]).all()
    assert (codes["e"] != codes["a"]).any()


def test_a_melody_that_is_no_sound_and_a_style_are_refused(run, melody_folder, folder):
    (folder / "text.wav").write_text("no sound")
    made = ("generate", "x", "--model", melody_folder, "-d", "0.2")
    assert run(*made, "--melody", "text.wav").code == 3
    assert run(*made, "--melody", "none.wav").code == 3
    outcome = run(*made, "--style", "text.wav")
    assert outcome.code == 2
    assert "takes no style" in outcome.err
