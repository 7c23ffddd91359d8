"""The CLAP condition: text and audio in one embedding space, so that a model trained on audio alone follows texts.

No clip needs a caption: in training the model is conditioned on the embedding of the audio, in generation on that of
the text. The embedding first goes through a residual quantiser, which keeps what texts and audio have in common and
makes single clips harder to memorise (MusicGen, arXiv 2306.05284, appendix A.1; audiocraft, clapemb2music.yaml).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant import processes
from descant.audio import Clip
from descant.conditioning.base import (
    Conditioner,
    Conditions,
    Embedding,
    FrameSpan,
    Fusion,
    TextLimit,
    readable_text,
)
from descant.errors import ConfigError, InvalidRequest
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer

START_VECTORS = 16
"""Vectors per codebook entry that ``start`` clusters; more take longer and change little."""

_MAXIMA = {"dim": 2**16, "num_codebooks": 256, "codebook_size": 2**16, "sample_rate_hz": 10**6}
_MAX_WINDOW_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class ClapConfig:
    """The defaults are those of MusicGen's experiments with CLAP (audiocraft, clapemb2music.yaml).

    Args:
        name: the frozen network, by hub id or folder.
        dim: width of the embedding space.
        window_s: longest audio that the network takes; longer audio is cut into windows, one every ``stride_s`` s.
        replaces_text: texts reach the model through this space alone, as in those experiments, and not through its text
            encoder too.
    """

    name: str = "laion/larger_clap_music"
    dim: int = 512
    num_codebooks: int = 12
    codebook_size: int = 1_024
    sample_rate_hz: int = 48_000
    window_s: float = 10.0
    stride_s: float = 1.0
    replaces_text: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("name='': must be a hub id or a folder")
        for name, maximum in _MAXIMA.items():
            if not 1 <= getattr(self, name) <= maximum:
                raise ConfigError(f"{name}={getattr(self, name)}: from 1 to {maximum}")
        for name in ("window_s", "stride_s"):
            # A window shorter than a sample would be empty.
            if not 1 / self.sample_rate_hz <= getattr(self, name) <= _MAX_WINDOW_S:
                raise ConfigError(f"{name}={getattr(self, name):g}: from one sample to {_MAX_WINDOW_S:g} s")

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def stride_samples(self) -> int:
        """Samples from the start of a window to the start of the next."""
        return round(self.stride_s * self.sample_rate_hz)


class JointEncoder(ABC):
    """A frozen encoder of text and audio into one space.

    It is not an ``nn.Module``, so a model's ``state_dict`` holds only what is trained. Embeddings have length 1 and are
    in float32 on the CPU. Each text and each window is encoded alone, so that none depends on what else is encoded.
    """

    def __init__(self, config: ClapConfig) -> None:
        self.config = config

    @abstractmethod
    def to(self, device: torch.device | str) -> "JointEncoder":
        """The same encoder, computing on another device; this one is left as it is."""

    @abstractmethod
    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        """The embedding of a text.

        Raises:
            InvalidRequest: the text has more tokens than the encoder reads.
        """

    @property
    def max_tokens(self) -> int | None:
        """The longest text it reads; None where there is no limit."""
        return None

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has; of an encoder without tokens, its words."""
        return len(text.split())

    @abstractmethod
    def embed_window(self, wave: Float[Tensor, " N"]) -> Float[Tensor, " D"]:
        """The embedding of one window of mono audio at the config's rate; a short one is repeated, then zero-padded."""

    def embed_windows(self, clip: Clip) -> Float[Tensor, "windows D"]:
        """The embeddings of all windows that lie in a clip, a row each; at least one."""
        wave = clip.resample(self.config.sample_rate_hz).to_channels(1).samples[0].cpu()
        size, stride = self.config.window_samples, self.config.stride_samples
        starts = range(0, max(1, len(wave) - size + 1), stride)
        return torch.stack([self.embed_window(wave[start : start + size]) for start in starts])

    def embed_audio(self, clip: Clip) -> Float[Tensor, " D"]:
        """The embedding of a clip: the mean over its windows, of length 1."""
        return F.normalize(self.embed_windows(clip).mean(dim=0), dim=0)


class ClapConditioner(Conditioner[Sequence[Float[Tensor, " D"] | None]]):
    """An embedding of the joint space quantised, then projected to the language model's width, as one position.

    The condition of a row is its own ``clap`` embedding, such as that of some audio, or else that of its text. There is
    no commitment loss: it would pull an encoder towards the codebooks, and this one is frozen.

    Args:
        encoder: not part of the weights. A model can be trained without it where every row has a ``clap`` embedding,
            but not conditioned on texts.
        method: ``cross`` or, in a model without cross-attention, ``prefix``.

    Raises:
        ConfigError: the encoder was made for another config.
    """

    name = condition = "clap"
    is_before_text = True
    float32_parts = frozenset({"quantizer"})

    def __init__(
        self, config: ClapConfig, lm_width: int, encoder: JointEncoder | None = None, fusion: Fusion = "cross"
    ) -> None:
        super().__init__()
        if encoder is not None and encoder.config != config:
            raise ConfigError(f"clap_encoder is made for {encoder.config}, the model for {config}")
        # The encoder stays on the CPU, so that a text has the same embedding whatever the model's device.
        self.config, self.encoder, self.fusion = config, encoder, fusion
        self.quantizer = ResidualVectorQuantizer(
            RVQConfig(
                dim=config.dim,
                num_codebooks=config.num_codebooks,
                codebook_size=config.codebook_size,
                codebook_dim=config.dim,
                # A batch has one vector per clip, fewer than a codebook has entries. With a codec's settings all
                # entries would die in every step and be moved to the last few clips.
                decay=0.999,
                dead_code_threshold=0.1,
                dead_code_relative=True,
            )
        )
        self.project = nn.Linear(config.dim, lm_width)

    def start(self, embeddings: Float[Tensor, "N D"]) -> None:
        """Initialises the codebooks from the training set's embeddings, of which evenly spaced ones are used.

        Without it the first batch initialises them, from its few vectors.
        """
        step = max(1, len(embeddings) // (START_VECTORS * self.config.codebook_size))
        chosen = embeddings[::step].to(self.project.weight.device)
        for level in self.quantizer.levels:
            assert isinstance(level, VectorQuantizer)
            level.is_initialized.fill_(0)
        was_training = self.training
        self.train()
        with torch.no_grad():
            self.quantizer(rearrange(chosen, "N D -> 1 D N"))
        self.train(was_training)

    def text_limits(self) -> list[TextLimit]:
        if self.encoder is None or self.encoder.max_tokens is None:
            return []
        return [(self.encoder.max_tokens, self.encoder.num_tokens)]

    def prepare(self, rows: Sequence[Conditions]) -> Sequence[Float[Tensor, " D"] | None]:
        """The embedding of each row; a text that several rows share is embedded once."""
        texts = [None if row.get("clap") is not None else readable_text(row.get("text")) for row in rows]
        of_text = {text: self._embed_text(text) for text in dict.fromkeys(texts) if text is not None}
        return [row.get("clap") if text is None else of_text[text] for row, text in zip(rows, texts, strict=True)]

    def forward(
        self,
        prepared: Sequence[Float[Tensor, " D"] | None],
        span: FrameSpan,
        drop: Bool[Tensor, " B"] | None = None,
    ) -> dict[Fusion, Embedding]:
        """The embeddings as one position; in training mode the codebooks learn from the rows that are not dropped."""
        del span
        has_condition = torch.tensor([point is not None for point in prepared])
        zeros = torch.zeros(self.config.dim)
        points = torch.stack([zeros if point is None else point.float().cpu() for point in prepared])
        return {self.fusion: self.embed(points, has_condition if drop is None else has_condition & ~drop.cpu())}

    def embed(self, points: Float[Tensor, "B D"], has_condition: Bool[Tensor, " B"]) -> Embedding:
        """Embeddings in the model's width and precision; rows without one are zero and masked."""
        weight = self.project.weight
        has_condition = has_condition.to(weight.device)
        values = weight.new_zeros(len(points), 1, len(weight))
        # Of several processes all take part in what the codebooks learn, also one whose rows are all dropped.
        if bool(has_condition.any()) or (self.training and processes.count() > 1):
            quantized = self.quantized(points.to(weight.device)[has_condition]).to(weight.dtype)
            values[has_condition] = self.project(quantized)[:, None].to(values.dtype)
        return Embedding(values, has_condition[:, None])

    def quantized(self, points: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The embeddings as the codebooks represent them; in training mode the codebooks learn from them."""
        return rearrange(self.quantizer(rearrange(points, "B D -> B D 1")).latents, "B D 1 -> B D")

    def _embed_text(self, text: str) -> Float[Tensor, " D"]:
        if self.encoder is None:
            raise InvalidRequest(
                "text: the encoder of this model's joint space is not loaded; give a clap embedding, or give the "
                f"model an encoder for {self.config}"
            )
        return self.encoder.embed_text(text)
