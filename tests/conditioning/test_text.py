import pytest
import torch

from descant.conditioning.base import Conditions, Embedding, FrameSpan, Fusion
from descant.conditioning.text import SmallText, T5Text, TextConditioner
from descant.errors import ConfigError

TEXTS = ["warm piano", None, "a sad violin with drums"]
SPAN = FrameSpan(num_frames=1, frame_rate_hz=50.0, input_frames=torch.zeros(1))


def embedded(conditioner: TextConditioner, texts: list[str | None], drop=None) -> dict[Fusion, Embedding]:
    rows: list[Conditions] = [{"text": text} for text in texts]
    return conditioner(conditioner.prepare(rows), SPAN, drop)


@pytest.fixture
def make(small_encoder):
    def conditioner(**fields: bool) -> TextConditioner:
        return TextConditioner(SmallText(dim=small_encoder.dim, **fields), 10, small_encoder)

    return conditioner


def test_null_rows_and_padding_are_exactly_zero_despite_the_bias(make):
    embedding = embedded(make(), TEXTS)["cross"]
    assert embedding.values.shape == (3, 7, 10)
    assert not embedding.values[~embedding.mask].any()
    assert embedding.values[embedding.mask].all()


def test_only_the_linear_map_is_part_of_the_weights(make):
    assert set(make().state_dict()) == {"project.weight", "project.bias"}


def test_the_embedding_has_the_precision_of_the_conditioner(make):
    conditioner = make()
    conditioner.to_precision(torch.bfloat16)
    assert embedded(conditioner, ["warm piano"])["cross"].values.dtype == torch.bfloat16


def test_the_pooled_text_is_the_mean_of_a_texts_vectors_whatever_the_other_rows(make, small_encoder):
    conditioner = make(has_pooled_text=True)
    parts = embedded(conditioner, TEXTS)
    assert set(parts) == {"cross", "sum", "output"}
    assert not parts["output"].values.any(), "the heads start without it"
    torch.nn.init.normal_(conditioner.project_output.weight)
    torch.nn.init.normal_(conditioner.project_output.bias)
    parts = embedded(conditioner, TEXTS)
    assert parts["output"].values.abs().sum(dim=-1)[:, 0].gt(0).tolist() == [True, False, True]
    pooled = parts["sum"]
    assert pooled.values.shape == (3, 1, 10)
    assert pooled.mask[:, 0].tolist() == [True, False, True]
    assert not pooled.values[1].any(), "the null condition is zero despite the bias"
    for row in (0, 2):
        mean = small_encoder.states(TEXTS[row]).mean(dim=0)
        torch.testing.assert_close(pooled.values[row, 0], conditioner.project_pooled(mean))


def test_a_dropped_text_is_zero_everywhere_and_the_others_are_untouched(make):
    conditioner = make(has_pooled_text=True)
    torch.nn.init.normal_(conditioner.project_output.bias)
    kept = embedded(conditioner, TEXTS)
    for method, part in embedded(conditioner, TEXTS, torch.tensor([True, False, False])).items():
        assert not part.values[0].any()
        assert not part.mask[0].any()
        assert torch.equal(part.values[1:], kept[method].values[1:])


def test_without_a_projection_the_vectors_are_those_of_the_encoder(small_encoder):
    config = T5Text(dim=small_encoder.dim, has_projection=False)
    conditioner = TextConditioner(config, small_encoder.dim, small_encoder, "prefix")
    assert torch.equal(embedded(conditioner, ["warm piano"])["prefix"].values[0], small_encoder.states("warm piano"))


def test_an_encoder_of_another_width_is_refused(small_encoder):
    with pytest.raises(ConfigError, match="24 wide, the model expects 12"):
        TextConditioner(SmallText(dim=12), 10, small_encoder)
