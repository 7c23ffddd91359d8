"""Text, from an encoder's vectors to what the language model attends to."""

from torch import nn
from torch.nn import functional

from descant.conditioning.base import Embedding


class TextConditioner(nn.Module):
    """The trained part of the text condition: linear maps to the language model's width.

    Args:
        encoder_dim: width of the text encoder's vectors.
        width: width of the language model.
        has_sentence: the text as a whole is told too, not its tokens alone.
        has_projection: without one the encoder's vectors, as wide as the model, are read as they are.
    """

    def __init__(
        self, encoder_dim: int, width: int, has_sentence: bool = False, *, has_projection: bool = True
    ) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, width) if has_projection else nn.Identity()
        self.project_sentence = nn.Linear(encoder_dim, width) if has_sentence else None
        self.project_output = nn.Linear(encoder_dim, width) if has_sentence else None
        if self.project_output is not None:
            # At first nothing: the heads are to meet their own stream before anything is added to it.
            nn.init.zeros_(self.project_output.weight)
            nn.init.zeros_(self.project_output.bias)

    def forward(self, embedding: Embedding) -> dict[str, Embedding]:
        """By name: ``text``, the embedding in the model's width and precision, and in a model that has sentences the
        mean of a text's vectors, for the steps (``sentence``) and for the heads (``sentence_output``). Masked positions
        and null rows stay zero.

        The mean's last bits may change with the padding: whoever promises the same codes in any batch embeds each
        request by itself, as ``generation/engine.py`` does.
        """
        weight = next(self.parameters(), None)
        values = embedding.values if weight is None else embedding.values.to(weight.dtype)
        # The maps have biases: without the mask a null row would say something (audiocraft, T5Conditioner.forward).
        told = {"text": Embedding(self.project(values) * embedding.mask[:, :, None], embedding.mask)}
        if self.project_sentence is not None and self.project_output is not None:
            is_said = embedding.mask.any(dim=1, keepdim=True)
            mean = values.sum(dim=1) / embedding.mask.sum(dim=1, keepdim=True).clamp(min=1)
            sentence = self.project_sentence(mean) * is_said
            told["sentence"] = Embedding(sentence[:, None], is_said)
            output = self.project_output(functional.layer_norm(mean, mean.shape[-1:])) * is_said
            told["sentence_output"] = Embedding(output[:, None], is_said)
        return told
