import pytest
import torch

from descant.conditioning.base import Embedding
from descant.conditioning.fuser import fuse
from descant.errors import InvalidRequest


def embedding(length: int, filled: int | None = None) -> Embedding:
    mask = (torch.arange(length) < (length if filled is None else filled)).expand(2, length)
    return Embedding(torch.randn(2, length, 4) * mask[:, :, None], mask)


def test_text_alone_goes_to_cross_attention_with_its_mask():
    text = embedding(5, filled=3)
    inputs = fuse([{"cross": text}])
    assert torch.equal(inputs.cross, text.values)
    assert torch.equal(inputs.cross_mask, text.mask)
    assert inputs.prefix is None
    assert inputs.sum is None


def test_prefixes_stand_in_the_order_of_their_conditioners():
    melody, text = embedding(6), embedding(3)
    inputs = fuse([{"prefix": melody}, {"prefix": text}])
    assert torch.equal(inputs.prefix, torch.cat([melody.values, text.values], dim=1))
    assert inputs.cross is None


def test_a_model_joins_melody_style_clap_text_tempo_and_chords_in_this_order(make_model, every_condition):
    """The released melody models were trained on a prefix of melody, then text."""
    model = make_model(**every_condition)
    assert [part.name for part in model.conditioners] == ["melody", "style", "clap", "text", "tempo_key", "chords"]


def test_two_cross_conditions_stand_end_to_end():
    melody, text = embedding(4), embedding(3, filled=2)
    inputs = fuse([{"cross": melody}, {"cross": text}])
    assert torch.equal(inputs.cross, torch.cat([melody.values, text.values], dim=1))
    assert torch.equal(inputs.cross_mask, torch.cat([melody.mask, text.mask], dim=1))


def test_sums_are_added_and_a_single_step_is_added_to_all():
    style, melody = embedding(1), embedding(6)
    inputs = fuse([{"sum": melody}, {"sum": style, "output": style}])
    torch.testing.assert_close(inputs.sum, melody.values + style.values)
    assert torch.equal(inputs.output, style.values)
    with pytest.raises(InvalidRequest, match=r"\[5, 6\] steps"):
        fuse([{"sum": embedding(5)}, {"sum": melody}])


def test_without_conditions_there_are_no_inputs():
    inputs = fuse([])
    assert inputs.cross is None
    assert inputs.prefix is None


def test_a_condition_that_the_model_does_not_take_is_refused_by_its_name(tiny_model):
    with pytest.raises(InvalidRequest, match="chords: this model takes no chords; it takes text"):
        tiny_model.prepare([{"text": "piano"}, {"chords": "C:0 G:2"}])
    assert tiny_model.prepare([{"text": "piano", "chords": None}]).keys() == {"text"}
