import pytest
import torch

from descant.conditioning.base import Embedding
from descant.conditioning.fuser import FuserConfig, fuse
from descant.config import from_dict
from descant.errors import ConfigError, InvalidRequest


def embedding(length: int, filled: int | None = None) -> Embedding:
    mask = (torch.arange(length) < (length if filled is None else filled)).expand(2, length)
    return Embedding(torch.randn(2, length, 4) * mask[:, :, None], mask)


def test_text_alone_goes_to_cross_attention_with_its_mask():
    text = embedding(5, filled=3)
    inputs = fuse({"text": text}, FuserConfig())
    assert torch.equal(inputs.cross, text.values)
    assert torch.equal(inputs.cross_mask, text.mask)
    assert inputs.prefix is None
    assert inputs.sum is None


def test_a_prefix_reads_melody_then_text_in_whatever_order_they_come():
    text, melody = embedding(3), embedding(6)
    inputs = fuse({"text": text, "melody": melody}, FuserConfig(text="prefix"))
    assert torch.equal(inputs.prefix, torch.cat([melody.values, text.values], dim=1))
    assert inputs.cross is None


def test_two_cross_conditions_stand_end_to_end():
    text, melody = embedding(3, filled=2), embedding(4)
    inputs = fuse({"text": text, "melody": melody}, FuserConfig(melody="cross"))
    assert torch.equal(inputs.cross, torch.cat([melody.values, text.values], dim=1))
    assert torch.equal(inputs.cross_mask, torch.cat([melody.mask, text.mask], dim=1))


def test_sums_are_added_and_a_single_step_is_added_to_all():
    style, melody = embedding(1), embedding(6)
    inputs = fuse({"style": style, "melody": melody}, FuserConfig(style="sum", melody="sum"))
    torch.testing.assert_close(inputs.sum, melody.values + style.values)
    with pytest.raises(InvalidRequest, match=r"\[5, 6\] steps"):
        fuse({"style": embedding(5), "melody": melody}, FuserConfig(style="sum", melody="sum"))


def test_no_condition_is_no_input():
    inputs = fuse({}, FuserConfig())
    assert inputs.cross is None
    assert inputs.prefix is None


def test_an_unknown_condition_and_an_unknown_method_are_errors():
    with pytest.raises(ConfigError, match="'chords' has no place"):
        fuse({"chords": embedding(3)}, FuserConfig())
    with pytest.raises(ConfigError, match="allowed are 'cross', 'prefix', 'sum'"):
        from_dict(FuserConfig, {"text": "interpolate"})
    with pytest.raises(ConfigError, match="unknown key"):
        from_dict(FuserConfig, {"chords": "cross"})
