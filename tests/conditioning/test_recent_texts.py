"""Prompts that come again are read once, and kept vectors are those that the encoder gives."""

import gc
import weakref

import pytest
import torch

from descant.conditioning import recent_texts
from descant.conditioning.base import TextEncoder


class Letters(TextEncoder):
    """One vector of four numbers for each letter; it remembers what it has read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    dim, device = 4, torch.device("cpu")

    def to(self, device):
        raise NotImplementedError(device)

    def states(self, text):
        self.read.append(text)
        if text == "unreadable":
            raise ValueError(text)
        return torch.tensor([[ord(letter)] * 4 for letter in text], dtype=torch.float32)


def test_a_text_that_comes_again_is_not_read_again():
    encoder, fresh = Letters(), Letters()
    batches = (["abc", None, "de"], ["de", "f", "abc"], ["abc", "abc"])
    for texts in batches:
        got, expected = encoder.encode(texts), Letters().encode(texts)
        assert torch.equal(got.values, expected.values)
        assert torch.equal(got.mask, expected.mask)
    assert encoder.read == ["abc", "de", "f"]
    fresh.encode(["abc"])
    assert fresh.read == ["abc"], "each encoder has vectors of its own"


def test_what_is_given_out_may_be_changed():
    encoder = Letters()
    encoder.encode(["abc"]).values.zero_()
    assert torch.equal(encoder.encode(["abc"]).values, Letters().encode(["abc"]).values)


def test_a_text_that_cannot_be_read_is_tried_again():
    encoder = Letters()
    for _ in range(2):
        with pytest.raises(ValueError, match="unreadable"):
            encoder.encode(["unreadable"])
    assert encoder.read == ["unreadable"] * 2


def test_only_so_many_are_kept_and_the_oldest_leave_first(monkeypatch):
    monkeypatch.setattr(recent_texts, "MAX_BYTES", 3 * 16 * 2)  # three texts of two letters
    encoder = Letters()
    encoder.encode(["aa", "bb", "cc"])
    encoder.encode(["aa"])
    encoder.encode(["dd"])
    encoder.encode(["aa", "cc", "dd"])
    assert encoder.read == ["aa", "bb", "cc", "dd"]
    encoder.encode(["bb"])
    assert encoder.read[-1] == "bb"


def test_an_encoder_that_is_gone_leaves_nothing():
    encoder = Letters()
    encoder.encode(["abc"])
    gone = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None


def test_vectors_that_were_read_in_inference_mode_can_be_trained_with():
    encoder = Letters()
    with torch.inference_mode():
        encoder.encode(["abc"])
    weight = torch.ones(4, requires_grad=True)
    (encoder.encode(["abc"]).values * weight).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad[0]) == sum(map(ord, "abc"))


class Products(Letters):
    """Its vectors are matrix products, which autocast rounds; it remembers how many threads computed them."""

    def states(self, text):
        self.read.append(text)
        self.num_threads = torch.get_num_threads()
        return torch.nn.functional.linear(super().states(text) / 7, torch.eye(4))


def test_kept_vectors_do_not_depend_on_the_settings_of_who_asked_first():
    """A run in bfloat16 once validated with rounded vectors, unless it was resumed in between."""
    encoder = Products()
    with torch.autocast("cpu", torch.bfloat16):
        encoder.encode(["abc"])
    assert torch.equal(encoder.encode(["abc"]).values, Products().encode(["abc"]).values)


def test_kept_vectors_are_computed_in_one_thread():
    """Products of several threads may have other bits."""
    encoder, before = Products(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder.encode(["abc"])
    finally:
        torch.set_num_threads(before)
    assert encoder.num_threads == 1
