"""Whatever a caller has set in PyTorch and NumPy: a request gives the same codes, and the settings stay theirs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import torch

import descant
from descant import Clip, MusicGen, Request
from descant.nn.settings import own_settings


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "half": lambda: default_dtype(torch.float16),
    "meta": lambda: default_device("meta"),
    "device block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "gradients": torch.enable_grad,
    "deterministic": deterministic,
    "threads": lambda: num_threads(2),
    "numpy raises": lambda: np.errstate(all="raise"),
}
THAT_LOADING_MEETS = ("float64", "half", "meta", "autocast", "inference")
SOUND = (0.3 * torch.randn(2, 2_205, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def made_by(model: MusicGen) -> list[torch.Tensor]:
    """Codes and sound of everything that a model makes."""
    sound = Clip(SOUND, 22_050)
    requests = [
        Request(text="warm piano, 120 bpm", negative_text="noise", duration_s=0.2, seed=1, prompt=sound),
        Request(text="drums, 60 bpm", loop_bars=1, beats_per_bar=1, seed=2),
    ]
    clips = model.generate(requests)
    stream = model.stream(requests[0], chunk_s=0.05)
    streamed = list(stream)
    codes = model.codec.encode(sound)
    louder = sound.normalize_loudness(-30.0).resample(32_000)
    return [
        *(part for clip in clips for part in (clip.codes, clip.samples)),
        *(torch.cat([clip.samples for clip in streamed], dim=1), stream.codes),
        *(codes, model.codec.decode(codes).samples, louder.samples),
    ]


@pytest.fixture(scope="module")
def tiny() -> MusicGen:
    return descant.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def expected(tiny) -> list[torch.Tensor]:
    return made_by(tiny)


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_same_request_gives_the_same_in_every_context(tiny, expected, context):
    with CONTEXTS[context]():
        made = made_by(tiny)
    for ours, theirs in zip(made, expected, strict=True):
        # Sums over samples may be split among threads; codes are the same to the bit.
        is_sound = theirs.is_floating_point() and context == "threads"
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 if is_sound else 0)


@pytest.mark.parametrize("context", THAT_LOADING_MEETS)
def test_a_model_is_the_same_in_whatever_context_it_was_loaded(tiny, context):
    with CONTEXTS[context]():
        again = descant.load("tiny", device="cpu")
    assert again.fingerprint == tiny.fingerprint
    weight = again.model.lm.norm.weight
    assert (weight.dtype, weight.device.type, weight.is_inference()) == (torch.float32, "cpu", False)
    codes = [model.generate("piano", duration_s=0.1, seed=1).codes for model in (again, tiny)]
    assert torch.equal(*codes)


def settings() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        np.geterr(),
    )


@pytest.mark.parametrize("context", CONTEXTS)
def test_between_two_chunks_of_a_stream_the_settings_are_the_callers(tiny, context):
    with CONTEXTS[context]():
        before = settings()
        for _ in tiny.stream("piano", duration_s=0.2, seed=1, chunk_s=0.05):
            assert settings() == before
        tiny.generate("piano", duration_s=0.1, seed=1)
        assert settings() == before


def test_music_made_in_inference_mode_may_be_trained_on(tiny):
    with torch.inference_mode():
        clip = tiny.generate("piano", duration_s=0.1, seed=1)
    assert not clip.codes.is_inference()
    assert not clip.samples.is_inference()


def test_the_callers_default_dtype_comes_back_when_the_last_thread_leaves():
    """Each thread once saved the dtype of the one before it, and the first to leave took float32 away from the rest."""
    seen = {}
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with own_settings():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(10)
        with own_settings():
            second_is_in.set()
            first_is_out.wait(10)
            seen["inside"] = torch.get_default_dtype()

    with default_dtype(torch.float64):
        threads = [threading.Thread(target=one) for one in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert torch.get_default_dtype() == torch.float64
    assert seen["inside"] == torch.float32


def test_a_thread_that_changes_the_default_dtype_does_not_change_it_for_the_next_to_enter():
    with default_dtype(torch.float32), own_settings():
        torch.set_default_dtype(torch.float64)
        with own_settings():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float32


def test_a_default_dtype_that_was_set_meanwhile_is_kept_or_restored():
    with default_dtype(torch.float16):
        with own_settings():
            torch.set_default_dtype(torch.float64)
        assert torch.get_default_dtype() == torch.float64
        with own_settings():
            torch.set_default_dtype(torch.float16)
            with own_settings():
                pass
        assert torch.get_default_dtype() == torch.float16
