import torch

from descant.conditioning.text import TextConditioner


def test_null_rows_and_padding_are_exactly_zero_behind_the_bias(small_encoder):
    conditioner = TextConditioner(small_encoder.dim, 10)
    embedding = conditioner(small_encoder.encode(["warm piano", None, "a sad violin with drums"]))["text"]
    assert embedding.values.shape == (3, 7, 10)
    assert not embedding.values[~embedding.mask].any()
    assert embedding.values[embedding.mask].all()


def test_only_the_linear_map_is_part_of_the_weights():
    assert set(TextConditioner(6, 4).state_dict()) == {"project.weight", "project.bias"}


def test_the_conditioner_answers_in_its_own_precision(small_encoder):
    conditioner = TextConditioner(small_encoder.dim, 10).to(torch.bfloat16)
    assert conditioner(small_encoder.encode(["warm piano"]))["text"].values.dtype == torch.bfloat16


def test_the_sentence_is_the_mean_of_a_texts_vectors_whatever_stands_beside_it(small_encoder):
    conditioner = TextConditioner(small_encoder.dim, 10, has_sentence=True)
    texts = ["warm piano", None, "a sad violin with drums"]
    told = conditioner(small_encoder.encode(texts))
    assert set(told) == {"text", "sentence", "sentence_output"}
    assert not told["sentence_output"].values.any(), "heads begin without it"
    torch.nn.init.normal_(conditioner.project_output.weight)
    torch.nn.init.normal_(conditioner.project_output.bias)
    told = conditioner(small_encoder.encode(texts))
    assert told["sentence_output"].values.abs().sum(dim=-1)[:, 0].gt(0).tolist() == [True, False, True]
    sentence = told["sentence"]
    assert sentence.values.shape == (3, 1, 10)
    assert sentence.mask[:, 0].tolist() == [True, False, True]
    assert not sentence.values[1].any(), "the null condition says nothing, behind the bias too"
    for row in (0, 2):
        mean = small_encoder.states(texts[row]).mean(dim=0)
        torch.testing.assert_close(sentence.values[row, 0], conditioner.project_sentence(mean))
