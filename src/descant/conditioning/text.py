"""Text, from an encoder's vectors to what the language model attends to."""

from torch import nn

from descant.conditioning.base import Embedding


class TextConditioner(nn.Module):
    """The trained part of the text condition: linear maps to the language model's width.

    Args:
        encoder_dim: width of the text encoder's vectors.
        width: width of the language model.
        has_sentence: the text as a whole is told too, not its tokens alone.
    """

    def __init__(self, encoder_dim: int, width: int, has_sentence: bool = False) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, width)
        self.project_sentence = nn.Linear(encoder_dim, width) if has_sentence else None

    def forward(self, embedding: Embedding) -> dict[str, Embedding]:
        """By name: ``text``, the embedding in the model's width and precision, and ``sentence``, the mean of a text's
        vectors, in a model that has one. Masked positions and null rows stay zero.

        The mean's last bits may change with the padding: whoever promises the same codes in any batch embeds each
        request by itself, as ``generation/engine.py`` does.
        """
        values = embedding.values.to(self.project.weight.dtype)
        # The maps have biases: without the mask a null row would say something (audiocraft, T5Conditioner.forward).
        told = {"text": Embedding(self.project(values) * embedding.mask[:, :, None], embedding.mask)}
        if self.project_sentence is not None:
            is_said = embedding.mask.any(dim=1, keepdim=True)
            mean = values.sum(dim=1) / embedding.mask.sum(dim=1, keepdim=True).clamp(min=1)
            sentence = self.project_sentence(mean) * is_said
            told["sentence"] = Embedding(sentence[:, None], is_said)
        return told
