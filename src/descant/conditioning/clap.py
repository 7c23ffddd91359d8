"""CLAP: texts and sound as points of one space, so that a model trained on what music sounds like is asked in words.

No clip needs a caption then: in training the model is told the embedding of the sound, in use that of the text. The
embedding goes through a residual quantiser first, which keeps from it what both have in common and makes it harder to
remember a clip by (MusicGen, arXiv 2306.05284, appendix A.1; audiocraft, clapemb2music.yaml).

Besides ``encoders.py`` the only file that imports transformers for conditioning.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.base import Embedding
from descant.errors import CheckpointError, ConfigError, InvalidRequest, MissingExtra
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer

START_VECTORS = 16
"""So many vectors an entry are enough for its first place; more take longer."""

_MOST = {"dim": 2**16, "num_codebooks": 256, "codebook_size": 2**16, "sample_rate_hz": 10**6}
_LONGEST_WINDOW_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class ClapConfig:
    """The defaults are those of MusicGen's experiments with CLAP (audiocraft, clapemb2music.yaml).

    Args:
        name: the frozen network, by hub id or folder.
        dim: width of the space.
        window_s: how much sound the network hears at once; of more it hears windows, one every ``stride_s`` seconds.
    """

    name: str = "laion/larger_clap_music"
    dim: int = 512
    num_codebooks: int = 12
    codebook_size: int = 1_024
    sample_rate_hz: int = 48_000
    window_s: float = 10.0
    stride_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("name='': must be a hub id or a folder")
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name}={getattr(self, name)}: from 1 to {most}")
        for name in ("window_s", "stride_s"):
            # A window of less than a sample would be no sound.
            if not 1 / self.sample_rate_hz <= getattr(self, name) <= _LONGEST_WINDOW_S:
                raise ConfigError(f"{name}={getattr(self, name):g}: from one sample to {_LONGEST_WINDOW_S:g} s")

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def stride_samples(self) -> int:
        """Samples from the beginning of a window to that of the next."""
        return round(self.stride_s * self.sample_rate_hz)


class JointEncoder(ABC):
    """A frozen reader of texts and listener to sound. It is no ``nn.Module``, so a model's ``state_dict`` holds only
    what is trained.

    What it gives is of length 1, in float32 on the CPU. Each text and each window is read alone, so that none depends
    on what else is read.
    """

    def __init__(self, config: ClapConfig) -> None:
        self.config = config

    @abstractmethod
    def to(self, device: torch.device | str) -> "JointEncoder":
        """The same encoder, computing on another device; this one is left as it is."""

    @abstractmethod
    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        """Where a text is.

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
        """Where one window of mono sound at the config's rate is; a short one is repeated, then filled with silence."""

    def embed_windows(self, clip: Clip) -> Float[Tensor, "windows D"]:
        """Where all windows are that lie in a clip, a row each; at least one."""
        wave = clip.resample(self.config.sample_rate_hz).to_channels(1).samples[0].cpu()
        size, stride = self.config.window_samples, self.config.stride_samples
        starts = range(0, max(1, len(wave) - size + 1), stride)
        return torch.stack([self.embed_window(wave[start : start + size]) for start in starts])

    def embed_audio(self, clip: Clip) -> Float[Tensor, " D"]:
        """Where a clip is: the mean of its windows, of length 1."""
        return F.normalize(self.embed_windows(clip).mean(dim=0), dim=0)


class ClapEncoder(JointEncoder):
    """CLAP (arXiv 2211.06687) as transformers has it, frozen, in float32.

    Args:
        place: where it is read from, if not from where the config's name says.

    Raises:
        MissingExtra: transformers is not installed.
        CheckpointError: there is no such model, it is no CLAP, a weight is missing, or it is not what the config says.
    """

    def __init__(self, config: ClapConfig, place: str | None = None) -> None:
        super().__init__(config)
        self._network, self._tokenizer, self._listener = _load(config, place or config.name)

    def to(self, device: torch.device | str) -> "ClapEncoder":
        if torch.device(device) == self._network.device:  # frozen, so nobody can tell it from a copy
            return self
        moved = object.__new__(ClapEncoder)
        moved.config, moved._tokenizer, moved._listener = self.config, self._tokenizer, self._listener
        moved._network = copy.deepcopy(self._network).to(device)
        return moved

    @property
    def max_tokens(self) -> int:
        shape = self._network.config.text_config
        # RoBERTa counts positions from behind its padding token.
        return shape.max_position_embeddings - shape.pad_token_id - 1

    def num_tokens(self, text: str) -> int:
        return len(self._tokenizer(text).input_ids)

    @torch.no_grad()
    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        tokens = self._tokenizer(text, return_tensors="pt").input_ids
        if tokens.shape[1] > self.max_tokens:
            raise InvalidRequest(
                f"text has {tokens.shape[1]} tokens: {self.config.name} reads up to {self.max_tokens}; shorten it"
            )
        pooled = self._network.text_model(input_ids=tokens.to(self._network.device)).pooler_output
        return F.normalize(self._network.text_projection(pooled)[0], dim=0).float().cpu()

    @torch.no_grad()
    def embed_window(self, wave: Float[Tensor, " N"]) -> Float[Tensor, " D"]:
        # Never the extractor's own cut, which is at a random place.
        heard = self._listener(
            wave.numpy(),
            sampling_rate=self.config.sample_rate_hz,
            truncation="rand_trunc",
            padding="repeatpad",
            return_tensors="pt",
        )
        features = heard["input_features"].float().to(self._network.device)
        pooled = self._network.audio_model(input_features=features).pooler_output
        return F.normalize(self._network.audio_projection(pooled)[0], dim=0).float().cpu()


def _load(config: ClapConfig, place: str) -> tuple[Any, Any, Any]:
    """Network, tokenizer and feature extractor."""
    try:
        from transformers import AutoConfig, AutoTokenizer, ClapFeatureExtractor, ClapModel
    except ImportError as error:
        raise MissingExtra('CLAP needs transformers: pip install "descant[t5]"') from error
    # Typed as Any: the library's annotations do not know the report.
    network_class: Any = ClapModel
    listener_class: Any = ClapFeatureExtractor
    try:
        described = AutoConfig.from_pretrained(place, trust_remote_code=False)
        if described.model_type != "clap":
            raise CheckpointError(f"{config.name}: a {described.model_type} model; CLAP is allowed here")
        listener = listener_class.from_pretrained(place)
        _check(config, described, listener)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        network, report = network_class.from_pretrained(place, config=described, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{config.name}: no CLAP could be read from there ({error})") from error
    # transformers fills what a file lacks with random numbers and a warning.
    if report["missing_keys"]:
        raise CheckpointError(f"{config.name}: weights are missing, first {sorted(report['missing_keys'])[:3]}")
    return network.float().eval().requires_grad_(False), tokenizer, listener


def _check(config: ClapConfig, described: Any, listener: Any) -> None:
    found: Mapping[str, object] = {
        "dim": described.projection_dim,
        "sample_rate_hz": listener.sampling_rate,
        "window_s": float(listener.max_length_s),
    }
    for name, value in found.items():
        if value != getattr(config, name):
            raise CheckpointError(f"{config.name}: its {name} is {value}, the model was made for {config}")
    if described.audio_config.enable_fusion:
        raise CheckpointError(f"{config.name}: it hears crops at random places of long sound; a CLAP without fusion")


class ClapConditioner(nn.Module):
    """From a point of the joint space to what the language model reads: quantised, then projected, as one position.

    There is no commitment loss: it would pull an encoder towards the codebooks, and this one is frozen.
    """

    def __init__(self, config: ClapConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.quantizer = ResidualVectorQuantizer(
            RVQConfig(
                dim=config.dim,
                num_codebooks=config.num_codebooks,
                codebook_size=config.codebook_size,
                codebook_dim=config.dim,
                # A batch has one vector a clip, fewer than a codebook has entries. With a codec's settings all entries
                # would die in every step and be put onto the last few clips.
                decay=0.999,
                dead_code_threshold=0.1,
                dead_code_relative=True,
            )
        )
        self.project = nn.Linear(config.dim, width)

    def start(self, embeddings: Float[Tensor, "N D"]) -> None:
        """Puts the codebooks where these embeddings are. Without it the first batch does, with its few vectors.

        Of many embeddings evenly spaced ones are taken.
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

    def quantized(self, embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """What is left of embeddings; in training mode the codebooks learn from them."""
        return rearrange(self.quantizer(rearrange(embeddings, "B D -> B D 1")).latents, "B D 1 -> B D")

    def forward(self, embeddings: Float[Tensor, "B D"], is_told: Bool[Tensor, " B"]) -> Embedding:
        """Embeddings in the model's width and precision; zeros, and masked, for rows that are told none.

        The codebooks learn from the rows that are told.
        """
        weight = self.project.weight
        is_told = is_told.to(weight.device)
        values = weight.new_zeros(len(embeddings), 1, len(weight))
        if bool(is_told.any()):
            heard = self.quantized(embeddings.to(weight.device)[is_told]).to(weight.dtype)
            values[is_told] = self.project(heard)[:, None].to(values.dtype)
        return Embedding(values, is_told[:, None])
