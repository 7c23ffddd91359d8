"""One model with every condition, and sixteen requests of all kinds: each gives the same alone and together."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.model import MusicGenModel

FRAME_S = 0.02
STYLE = StyleConfig(
    features="none",
    feature_dim=5,
    width=8,
    num_heads=2,
    num_layers=1,
    num_codebooks=3,
    codebook_size=16,
    used_codebooks=2,
    stride_frames=4,
)


def tune(rate_hz: float) -> Clip:
    return Clip(0.5 * torch.sin(2 * torch.pi * rate_hz * torch.arange(4_000) / 8_000)[None], 8_000)


def codes(num_rows: int, num_frames: int, size: int) -> torch.Tensor:
    return torch.randint(0, size, (num_rows, num_frames), generator=torch.Generator().manual_seed(num_frames))


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano, 110 bpm", "duration_s": 12 * FRAME_S, "seed": 1, **changes})


LONG = {"duration_s": 27 * FRAME_S}
SOUND = Clip(0.2 * torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0)), 32_000)
REQUESTS = {
    "plain": ask(),
    "nothing": ask(text=None, seed=2),
    "negative": ask(negative_text="noise, 80 bpm"),
    "greedy": ask(sampling=Sampling(greedy=True)),
    "unguided": ask(guidance=Guidance(scale=1.0)),
    "guided over time": ask(guidance=Guidance(scale=5.0, schedule=((0.1, 1.0),)), **LONG),
    "melody": ask(melody=tune(440.0)),
    "melody scale": ask(melody=tune(330.0), guidance=Guidance(melody_scale=4.0), **LONG),
    "style": ask(style_codes=codes(2, 9, 16)),
    "text scale": ask(style_codes=codes(2, 9, 16), guidance=Guidance(text_scale=4.0)),
    "melody and style": ask(melody=tune(440.0), style_codes=codes(2, 9, 16), seed=5),
    "continued codes": ask(prompt_codes=codes(4, 5, 32)),
    "continued audio and a melody": ask(prompt=SOUND, melody=tune(330.0), **LONG),
    "long": ask(stride_s=3 * FRAME_S, **LONG),
    "timeline": ask(timeline=((0.1, "drums"), (0.3, "loud strings, 90 bpm")), **LONG),
    "loop": ask(text="drums, 240 bpm", loop_bars=1, beats_per_bar=1),
}


@pytest.fixture(scope="module", params=[True, False], ids=["cross-attention", "prefix"])
def model(request, make_model) -> MusicGenModel:
    melody = MelodyConfig(
        sample_rate_hz=8_000,
        window_samples=512,
        hop_samples=128,
        num_frames=9,
        part="mix",
        fusion="sum" if request.param else "prefix",
    )
    model = make_model(
        lm_changes={"has_cross_attention": request.param},
        max_duration_s=12 * FRAME_S,
        tempo_key=TempoKeyConfig(),
        melody=melody,
        style=STYLE,
    )
    # The projection of a melody that is added to the steps starts at zero.
    model.melody.project.weight.normal_(generator=torch.Generator().manual_seed(0))
    return model


def test_sixteen_requests_of_all_kinds_give_the_same_codes_alone_and_together(model):
    assert len(REQUESTS) == 16
    alone = {name: Engine(model).generate([request])[0] for name, request in REQUESTS.items()}
    together = dict(zip(REQUESTS, Engine(model, max_batch=16).generate(list(REQUESTS.values())), strict=True))
    for name, made in together.items():
        assert torch.equal(made.codes, alone[name].codes), name
        assert torch.equal(made.wave, alone[name].wave), name
    lengths = {tuple(made.codes.shape) for made in together.values()}
    assert lengths == {(4, 12), (4, 27), (4, 25)}
    different = {made.codes[:, :12].numpy().tobytes() for made in together.values()}
    # A long request, and one whose prompts change later, may begin as the plain one does.
    assert len(different) >= 14


def test_each_request_streams_what_generate_gives(model):
    engine = Engine(model)
    for name, request in REQUESTS.items():
        if request.loop_bars is not None:
            continue
        stream = engine.stream(request, chunk_s=0.06)
        whole = torch.cat(list(stream), dim=1)
        made = engine.generate([request])[0]
        assert torch.equal(stream.codes, made.codes), name
        torch.testing.assert_close(whole, made.wave, rtol=0, atol=1e-4, msg=name)
