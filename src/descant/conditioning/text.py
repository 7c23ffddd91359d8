"""Text, from an encoder's vectors to what the language model attends to."""

from torch import nn

from descant.conditioning.base import Embedding


class TextConditioner(nn.Module):
    """The trained part of the text condition: a linear map to the language model's width.

    Args:
        encoder_dim: width of the text encoder's vectors.
        width: width of the language model.
    """

    def __init__(self, encoder_dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, width)

    def forward(self, embedding: Embedding) -> Embedding:
        """The embedding in the language model's width and precision; masked positions and null rows stay zero."""
        projected = self.project(embedding.values.to(self.project.weight.dtype))
        # The map has a bias: without the mask a null row would say something (audiocraft, T5Conditioner.forward).
        return Embedding(projected * embedding.mask[:, :, None], embedding.mask)
