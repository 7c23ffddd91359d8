import dataclasses

import pytest
import torch

from descant.conditioning.encoders.small import SmallTextConfig, SmallTextNetwork
from descant.errors import CheckpointError, ConfigError
from descant.training.distill import distillation_loss, first_weights, from_bert, prune_vocabulary, spearman
from tests.wordpieces import WORDS, make_wordpiece


def test_a_bert_under_renaming_is_transformers_bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=20,
    )
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    torch.nn.init.normal_(theirs.embeddings.token_type_embeddings.weight)
    ours = from_bert(theirs.state_dict(), num_heads=4)
    tokens = torch.randint(0, 50, (2, 9))
    torch.testing.assert_close(ours(tokens), theirs(input_ids=tokens).last_hidden_state, rtol=0, atol=1e-5)


def test_weights_of_something_else_are_refused():
    with pytest.raises(CheckpointError, match="not BERT weights"):
        from_bert({"weight": torch.zeros(2, 2)}, num_heads=1)


def test_a_pruned_tokenizer_splits_english_as_before_and_knows_no_other_letters():
    whole = make_wordpiece([*WORDS, "[unused7]", "日", "##ж", "♪"])
    pruned, old_ids = prune_vocabulary(whole)
    text = "Warm drumming, lo-fi ♪"
    assert pruned.encode(text).tokens == whole.encode(text).tokens
    assert [old_ids[token_id] for token_id in pruned.encode(text).ids] == whole.encode(text).ids
    assert pruned.get_vocab_size() == whole.get_vocab_size() - 3
    assert pruned.encode("日 [unused7]").tokens[1] == "[UNK]"


def make_teacher() -> SmallTextNetwork:
    config = SmallTextConfig(
        vocab_size=30, width=24, num_layers=3, num_heads=4, mlp_width=40, embedding_rank=None, max_tokens=9
    )
    return SmallTextNetwork(config).eval().requires_grad_(False)


def test_a_student_with_every_layer_and_axis_starts_as_its_teacher():
    teacher = make_teacher()
    config = dataclasses.replace(teacher.config, embedding_rank=24)
    student = first_weights(teacher, config, [0, 1, 2], list(range(30)))
    tokens = torch.randint(0, 30, (4, 7))
    torch.testing.assert_close(student(tokens), teacher(tokens), rtol=0, atol=1e-4)


def test_a_student_of_another_shape_than_its_layers_is_refused():
    teacher = make_teacher()
    with pytest.raises(ConfigError, match="cannot start"):
        first_weights(teacher, teacher.config, [0, 2], list(range(30)))


def test_the_loss_is_zero_for_the_teacher_and_one_per_token_for_zeros():
    states = torch.randn(3, 5, 8)
    tokens, sentences = distillation_loss(states, states)
    assert tokens == 0
    assert sentences.abs() < 1e-6
    assert distillation_loss(torch.zeros_like(states), states)[0] == 1


def test_spearman_sees_order_only():
    values = torch.randn(50)
    assert spearman(values, values.exp()) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)


def test_learning_brings_a_student_nearer_to_its_teacher():
    torch.manual_seed(0)
    teacher = make_teacher()
    config = dataclasses.replace(teacher.config, embedding_rank=16, num_layers=2)
    student = first_weights(teacher, config, [0, 2], list(range(30)))
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        numbers = torch.randint(0, 30, (16, 6))
        tokens, sentences = distillation_loss(student(numbers), teacher(numbers))
        optimizer.zero_grad()
        (tokens + sentences).backward()
        optimizer.step()
        losses.append(tokens.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
