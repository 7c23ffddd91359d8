import pytest
import torch

from descant.conditioning.base import Embedding, readable_text
from descant.errors import InvalidRequest


@pytest.mark.parametrize("nothing", [None, "", " ", "\n\t ", "\x01\x7f", "\u200b\u200d", "\u00a0"])
def test_a_text_without_a_visible_character_is_the_null_condition(small_encoder, nothing):
    embedding = small_encoder.encode([nothing, "warm piano"])
    assert readable_text(nothing) is None
    assert not embedding.mask[0].any()
    assert torch.equal(embedding.values[0], torch.zeros_like(embedding.values[0]))
    assert embedding.mask[1].all()


def test_an_all_null_batch_has_one_masked_position(small_encoder):
    embedding = small_encoder.encode([None, ""])
    assert embedding.values.shape == (2, 1, small_encoder.dim)
    assert not embedding.mask.any()


@pytest.mark.parametrize("text", ["a\0b", "piano \ud83d", "\udfff"])
def test_text_with_invalid_characters_is_refused_with_their_position(small_encoder, text):
    with pytest.raises(InvalidRequest, match=r"U\+[0-9A-F]{4} at character"):
        small_encoder.encode([text])


@pytest.mark.parametrize(
    "text", ["🎹🎶", "日本の音楽", "<script>", "../../etc/passwd", "\x07piano", "قيثارة", "e\u0301"]
)
def test_any_other_text_is_read(small_encoder, text):
    embedding = small_encoder.encode([text])
    assert embedding.mask.all()
    assert embedding.values.isfinite().all()


def test_a_bare_string_is_not_a_list_of_letters(small_encoder):
    with pytest.raises(InvalidRequest, match="letter by letter"):
        small_encoder.encode("drums")


def test_a_row_without_its_condition_is_exactly_zero_and_the_others_are_untouched():
    values, mask = torch.full((3, 2, 4), torch.inf), torch.tensor([[True, False], [True, True], [True, True]])
    embedding = Embedding.masked(values, mask, torch.tensor([False, True, False]))
    assert embedding.mask.tolist() == [[True, False], [False, False], [True, True]]
    assert torch.equal(embedding.values[2], values[2])
    for kept in (embedding, Embedding.masked(values, mask)):
        assert torch.equal(kept.values == 0, ~kept.mask[:, :, None].expand(3, 2, 4))
