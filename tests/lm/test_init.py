"""Where a language model starts from."""

import torch

from descant.lm.init import start_from_codebooks
from descant.lm.model import LMConfig, MusicLM
from descant.nn.transformer import TransformerConfig


def untrained(codebooks) -> MusicLM:
    torch.manual_seed(0)
    shape = TransformerConfig(width=128, num_heads=2, num_layers=2)
    lm = MusicLM(LMConfig(num_codebooks=2, codebook_size=50, transformer=shape))
    start_from_codebooks(lm.embeddings, lm.heads, codebooks)
    return lm.eval()


def test_an_untrained_model_predicts_that_a_code_stays_what_it_was():
    lm = untrained([torch.randn(50, 16) for _ in range(2)])
    sequence = torch.randint(0, 50, (4, 2, 20))
    with torch.no_grad():
        likeliest = lm(sequence).argmax(dim=-1)
    assert (likeliest == sequence).float().mean() > 0.9


def test_codes_that_are_near_in_the_codebook_begin_near_in_the_model():
    codebook = torch.randn(50, 16)
    codebook[1] = codebook[0] + 0.01
    table = untrained([codebook, codebook]).embeddings[0].weight
    others = torch.cdist(table[:1], table[2:50]).min()
    assert torch.dist(table[0], table[1]) < others
