"""Conditions and prompts do not depend on the number of torch's threads, to the last bit.

Torch splits a matrix product among threads, and may add the numbers of a few rows in another order than those of many.
So encoders are as wide here as the released ones, and texts as short as people write them.
"""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.checkpoints.native import starter_folder
from descant.conditioning import melody as melody_module
from descant.conditioning.base import TextEncoder
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.encoders.small import SmallTextEncoder
from descant.conditioning.encoders.t5_network import T5Config, T5Network
from descant.conditioning.encoders.weights import HeldWeights
from descant.conditioning.style import StyleConfig, StyleFeatures
from descant.conditioning.text import SmallText
from descant.generation.prepared import Preparer
from descant.generation.request import Request
from descant.generation.resolve import Resolver
from descant.generation.state import GenerationState
from descant.model import MusicGenModel
from descant.nn.settings import in_one_thread

NUMBERS = (1, 2, 3, 4)
TEXTS = ("rain", "strings, slow", "sad violin and some drums", "a fast techno track with warm bass")
SOUND = Clip(torch.rand(1, 8_000, generator=torch.Generator().manual_seed(0)) - 0.5, 8_000)

WIDE_T5 = T5Config(
    vocab_size=100,
    d_model=768,
    d_kv=64,
    d_ff=3_072,
    num_layers=1,
    num_heads=12,
    relative_attention_num_buckets=32,
    relative_attention_max_distance=128,
    layer_norm_epsilon=1e-6,
    dense_act_fn="relu",
    is_gated_act=False,
)


class WideT5(TextEncoder):
    """A layer of T5-base, random, with a token for each length of a word."""

    dim, device = 768, torch.device("cpu")

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = WIDE_T5.shapes().items()
        weights = {name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5 for name, shape in shapes}
        self._network = T5Network(WIDE_T5, HeldWeights(weights))

    def to(self, device: torch.device | str) -> "WideT5":
        del device
        return self

    def states(self, text: str) -> Float[Tensor, "L D"]:
        return self._network(torch.tensor([[len(word) for word in text.split()]]))[0]


ENCODERS: dict[str, Callable[[], TextEncoder]] = {
    "starter": lambda: SmallTextEncoder.load(starter_folder() / "text"),
    "T5": WideT5,
}


@pytest.fixture
def with_each_number() -> Iterator[Callable[..., list]]:
    """What a function gives with each number of threads."""
    before = torch.get_num_threads()

    def results(function: Callable[[], object]) -> list[object]:
        made = []
        for number in NUMBERS:
            torch.set_num_threads(number)
            made.append(function())
            assert torch.get_num_threads() == number
        return made

    yield results
    torch.set_num_threads(before)


def model_with(make_model, encoder: TextEncoder) -> MusicGenModel:
    """The tiny model with another text encoder, whose vectors and whose mean go through the model's own maps."""
    wide = {"width": 256, "num_layers": 1}
    model = make_model(text=SmallText(dim=encoder.dim, has_pooled_text=True), lm_changes=wide)
    model.text.encoder = encoder
    return model


@pytest.mark.parametrize("encoder", ENCODERS)
def test_texts_are_the_same_condition_with_any_number_of_threads(make_model, encoder, with_each_number):
    model = model_with(make_model, ENCODERS[encoder]())

    def inputs(text: str) -> list[Tensor]:
        request = Resolver(model).resolve(Request(text=text, negative_text="noise and rumble", duration_s=0.1, seed=1))
        state = GenerationState(model, request, Preparer(model))
        made = state.job(state.next_window).inputs
        return [part for part in vars(made).values() if part is not None]

    for text in TEXTS:
        first, *others = with_each_number(lambda text=text: inputs(text))
        for other in others:
            assert all(map(torch.equal, first, other)), text


class Watched(StyleFeatures):
    """Says with how many threads it was asked."""

    dim, sample_rate_hz = 5, 8_000

    def __init__(self) -> None:
        self.asked: list[int] = []

    def to(self, device: torch.device | str) -> "Watched":
        del device
        return self

    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        self.asked.append(torch.get_num_threads())
        return wave[:500].unflatten(0, (-1, 5))


def test_what_is_computed_of_audio_is_computed_in_one_thread(make_model, with_each_number, monkeypatch):
    """Its codes are rounded, so that threads would rarely be noticed in them."""
    style, watched = (
        StyleConfig(feature_dim=5, width=8, num_heads=2, num_layers=1, excerpt_s=1.0, min_excerpt_s=1.0),
        Watched(),
    )
    melody = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11, part="mix")
    model = make_model(style=style, melody=melody, lm_changes={"has_cross_attention": False})
    model.style.encoder = watched
    encode = model.codec.encode_in_chunks

    def watch(function):
        def watching(*arguments):
            watched.asked.append(torch.get_num_threads())
            return function(*arguments)

        return watching

    monkeypatch.setattr(melody_module, "chromagram", watch(chromagram))
    monkeypatch.setattr(model.codec, "encode_in_chunks", watch(encode))
    request = Request(prompt=SOUND, melody=SOUND, style=SOUND, duration_s=2.0)
    with_each_number(lambda: Resolver(model).resolve(request))
    assert watched.asked == [1] * 3 * len(NUMBERS)


def test_a_function_in_one_thread_gives_its_value_or_its_error_and_other_threads_keep_their_number(with_each_number):
    seen: list[int] = []

    @in_one_thread
    def ask(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    def check() -> int:
        with pytest.raises(ValueError, match="-1"):
            ask(-1)
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return ask(7)

    assert with_each_number(check) == [7] * len(NUMBERS)
    assert seen == [*NUMBERS]
