import torch

from descant.conditioning.text import TextConditioner


def test_null_rows_and_padding_are_exactly_zero_behind_the_bias(small_encoder):
    conditioner = TextConditioner(small_encoder.dim, 10)
    embedding = conditioner(small_encoder.encode(["warm piano", None, "a sad violin with drums"]))
    assert embedding.values.shape == (3, 7, 10)
    assert not embedding.values[~embedding.mask].any()
    assert embedding.values[embedding.mask].all()


def test_only_the_linear_map_is_part_of_the_weights():
    assert set(TextConditioner(6, 4).state_dict()) == {"project.weight", "project.bias"}


def test_the_conditioner_answers_in_its_own_precision(small_encoder):
    conditioner = TextConditioner(small_encoder.dim, 10).to(torch.bfloat16)
    assert conditioner(small_encoder.encode(["warm piano"])).values.dtype == torch.bfloat16
