"""What a user does with a released model: a folder on disk, one command, and the codes are transformers'."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from descant.apps.cli.main import main
from descant.checkpoints.codes import load_codes

transformers = pytest.importorskip("transformers", reason="transformers")

TEXTS = ["warm slow piano with drums", "techno"]
NUM_FRAMES = 12


def their_codes(theirs: Any, texts: list[str], scale: float, delay: int, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """What transformers decodes after generating greedily, all texts in one padded batch."""
    decoded: list[Tensor] = []
    codec = theirs.model.audio_encoder
    decode = codec.decode

    def listen(codes: Tensor, *args: Any, **settings: Any) -> Any:
        decoded.append(codes[0])
        return decode(codes, *args, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(codec, "decode", listen)
        tokens = transformers.AutoTokenizer.from_pretrained(theirs.folder)(texts, padding=True, return_tensors="pt")
        theirs.model.generate(**tokens, do_sample=False, guidance_scale=scale, max_new_tokens=NUM_FRAMES + delay)
    # Stereo codes are decoded one channel after the other; ours alternate.
    return decoded[0] if len(decoded) == 1 else torch.stack(decoded, dim=2).flatten(1, 2)


@pytest.mark.parametrize("texts", [TEXTS[:1], TEXTS], ids=["alone", "in a batch"])
@pytest.mark.parametrize("scale", ["1", "3"])
@pytest.mark.parametrize("kind", ["odd", "stereo"])
def test_one_command_gives_their_greedy_codes(transformers_model, kind, scale, texts, tmp_path, monkeypatch):
    theirs = transformers_model(kind)
    monkeypatch.chdir(tmp_path)
    words = ["generate", *texts, "--model", str(theirs.folder), "--greedy", "--guidance", scale, "--device", "cpu"]
    target = (
        ["-o", "out.wav", "--save-codes", "codes.safetensors"]
        if len(texts) == 1
        else ["-o", "a/", "--save-codes", "c/"]
    )
    assert main([*words, "-d", str(NUM_FRAMES / 1_000), *target]) == 0
    files = [Path("codes.safetensors")] if len(texts) == 1 else sorted(Path("c").iterdir())
    expected = their_codes(theirs, texts, float(scale), 3, monkeypatch)
    assert len(files) == len(texts)
    for file, codes in zip(files, expected, strict=True):
        assert torch.equal(load_codes(file)[0], codes)
