"""Requests to music: settles what a request leaves open, batches what can share steps, decodes codes to sound."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.conditioning.base import readable_text
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.melody import FULL_LEVEL, hear_melody
from descant.conditioning.style import StyleConfig
from descant.errors import InvalidRequest
from descant.generation.decode import Draft, decode
from descant.generation.request import Guidance, Request, Sampling
from descant.model import Conditions, MusicGenModel
from descant.nn.inputs import LMInputs

CONDITION_STEPS = 64
"""Text conditions are padded to a multiple of this, so that requests with short texts can share a batch and a row's
attention sums over the same number of positions in any company."""


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a request: its music, its codes (the prompt's are the first of them), and the request settled."""

    wave: Float[Tensor, "C N"]
    codes: Int[Tensor, "K T"]
    num_prompt_frames: int
    request: Request


class Engine:
    """Makes music with one model. It keeps no state between calls, so threads may share it.

    Args:
        max_batch: how many requests are decoded side by side; more wait for their turn.
    """

    def __init__(self, model: MusicGenModel, max_batch: int = 8) -> None:
        self.model = model
        self.max_batch = max_batch

    @property
    def default_sampling(self) -> Sampling:
        """How codes are drawn where a request does not say."""
        defaults = self.model.config.defaults
        return Sampling(temperature=defaults.temperature, top_k=defaults.top_k, top_p=defaults.top_p)

    @property
    def default_guidance(self) -> Guidance:
        """How strong guidance is where a request does not say."""
        return Guidance(scale=self.model.config.defaults.guidance)

    @torch.no_grad()
    def generate(
        self,
        requests: Sequence[Request],
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> list[Made]:
        """The music of every request, in their order; each is what it would be alone.

        Args:
            progress: called with the steps done and the steps in all.
            cancel: asked before each step; True stops everything.

        Raises:
            InvalidRequest: a request asks for what this model cannot do; nothing has been made then.
            Cancelled: ``cancel`` said so.
        """
        settled = [self._settle(request) for request in requests]
        drafts = [self._draft(request) for request in settled]
        codes: dict[int, Int[Tensor, "K T"]] = {}
        batches = list(self._batches(drafts))
        total = sum(self._steps(drafts, batch) for batch in batches)
        done = 0
        for batch in batches:
            before = done

            def on_step(step: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + step, total)

            made = decode(self.model.lm, self.model.config.pattern, [drafts[i] for i in batch], on_step, cancel)
            codes.update(zip(batch, made, strict=True))
            done += self._steps(drafts, batch)
        return [
            self._sound(request, draft, codes[index])
            for index, (request, draft) in enumerate(zip(settled, drafts, strict=True))
        ]

    def _settle(self, request: Request) -> Request:
        limit_s = self.model.config.max_duration_s
        if request.duration_s > limit_s:
            raise InvalidRequest(
                f"duration_s={request.duration_s:g}: this model was trained on clips up to {limit_s:g} s; "
                "ask for at most that"
            )
        guidance = request.guidance or self.default_guidance
        settled_style = self._style_codes(request)
        if guidance.text_scale is not None and (settled_style is None or readable_text(request.text) is None):
            raise InvalidRequest(
                f"text_scale={guidance.text_scale:g} of guidance weighs a text against a style: give both, or None"
            )
        seed = secrets.randbits(31) if request.seed is None else request.seed
        return replace(
            request,
            melody=None,
            melody_chroma=self._melody(request),
            style=None,
            style_codes=settled_style,
            seed=seed,
            sampling=request.sampling or self.default_sampling,
            guidance=guidance,
        )

    def _draft(self, request: Request) -> Draft:
        assert request.sampling is not None
        assert request.guidance is not None
        assert request.seed is not None
        scale, text_scale = request.guidance.scale, request.guidance.text_scale
        everything = Conditions(text=request.text, melody=request.melody_chroma, style=request.style_codes)
        told = {"inputs": everything}
        if text_scale is not None:
            told["without_text"] = replace(everything, text=None)
        if scale != 1:
            told["against"] = Conditions(text=request.negative_text)
        num_frames = self.model.codec.num_frames(self._num_samples(request))
        inputs = dict(zip(told, self._inputs(list(told.values()), num_frames), strict=True))
        return Draft(
            num_frames=num_frames,
            prompt=self._prompt_codes(request),
            inputs=inputs["inputs"],
            without_text=inputs.get("without_text"),
            against=inputs.get("against"),
            scale=scale,
            text_scale=1.0 if text_scale is None else text_scale,
            sampling=request.sampling,
            seed=request.seed,
        )

    def _num_samples(self, request: Request) -> int:
        return max(1, round(request.duration_s * self.model.codec.sample_rate_hz))

    def _melody(self, request: Request) -> Int[Tensor, "T P"] | None:
        """What the model hears of the request's melody."""
        if request.melody is None and request.melody_chroma is None:
            return None
        config = self.model.config.melody
        if config is None:
            raise InvalidRequest("melody: this model takes no melody; leave it out, or use a melody model")
        if request.melody is not None:
            return hear_melody(
                request.melody, config, max(request.duration_s, config.num_frames / config.frame_rate_hz)
            )
        assert request.melody_chroma is not None
        return _checked_melody(request.melody_chroma, config)

    def _style_codes(self, request: Request) -> Int[Tensor, "K L"] | None:
        """What the model hears of the request's style."""
        if request.style is not None:
            return self.model.style_codes(request.style)
        if request.style_codes is None:
            return None
        if self.model.config.style is None:
            raise InvalidRequest("style_codes: this model takes no style; leave them out, or use a style model")
        return _checked_style(request.style_codes, self.model.config.style)

    def _inputs(self, conditions: list[Conditions], num_frames: int) -> list[LMInputs]:
        """The conditions of one request, an item for each row, all as long as the longest.

        In a model without cross-attention the text is a prefix. It has no mask, so to pad it to the length of another
        request would change the music: requests with texts of different lengths are decoded one after another there.
        """
        inputs = self.model.inputs(conditions, num_frames)
        if inputs.cross is not None and inputs.cross_mask is not None:
            missing = -inputs.cross.shape[1] % CONDITION_STEPS
            cross, cross_mask = F.pad(inputs.cross, (0, 0, 0, missing)), F.pad(inputs.cross_mask, (0, missing))
            inputs = replace(inputs, cross=cross, cross_mask=cross_mask)
        return [inputs.rows(row) for row in torch.arange(len(conditions), device=self.model.device).split(1)]

    def _prompt_codes(self, request: Request) -> Int[Tensor, "K T"]:
        codec = self.model.codec
        if request.prompt is None and request.prompt_codes is None:
            return torch.zeros(codec.num_codebooks, 0, dtype=torch.long, device=self.model.device)
        if request.prompt_codes is not None:
            codes = request.prompt_codes.to(self.model.device, torch.long)
            low, high = int(codes.min()), int(codes.max())
            if len(codes) != codec.num_codebooks or not 0 <= low <= high < codec.codebook_size:
                raise InvalidRequest(
                    f"prompt_codes: {len(codes)} codebooks with codes from {low} to {high}; this model's codec has "
                    f"{codec.num_codebooks} with codes from 0 to {codec.codebook_size - 1}: give the prompt as audio"
                )
        else:
            assert request.prompt is not None
            clip = request.prompt.resample(codec.sample_rate_hz).to_channels(codec.num_channels)
            # Whole frames only: the codec fills up the last one with silence, and a gap would be heard there.
            whole = clip.samples.shape[-1] // codec.hop_samples * codec.hop_samples
            if whole == 0:
                raise InvalidRequest(f"prompt: {clip.duration_s:g} s is less than one frame; give a longer one")
            codes = codec.encode(clip.samples[None, :, :whole].to(self.model.device))[0]
        num_frames = codec.num_frames(self._num_samples(request))
        if codes.shape[-1] >= num_frames:
            raise InvalidRequest(
                f"duration_s={request.duration_s:g}: the prompt fills {codes.shape[-1]} of {num_frames} frames; "
                "ask for more, or give a shorter prompt"
            )
        return codes

    def _batches(self, drafts: list[Draft]) -> Iterator[list[int]]:
        """Requests that can share steps: prompts equally long, conditions equally long."""
        groups: dict[tuple[int, int, int], list[int]] = {}
        for index, draft in enumerate(drafts):
            cross = 0 if draft.inputs.cross is None else draft.inputs.cross.shape[1]
            groups.setdefault((draft.prompt.shape[-1], cross, draft.inputs.prefix_steps), []).append(index)
        for group in groups.values():
            # Long ones first, so that the members of a batch end at about the same time.
            group.sort(key=lambda index: -drafts[index].num_frames)
            for start in range(0, len(group), self.max_batch):
                yield group[start : start + self.max_batch]

    def _steps(self, drafts: list[Draft], batch: list[int]) -> int:
        return max(self.model.config.pattern.length(drafts[index].num_frames) for index in batch)

    def _sound(self, request: Request, draft: Draft, codes: Int[Tensor, "K T"]) -> Made:
        # Copied, since what the step loop made under inference_mode could never be trained on.
        codes = codes.clone()
        wave = self.model.codec.decode(codes[None])[0, :, : self._num_samples(request)]
        return Made(
            wave=wave.float().cpu(), codes=codes.cpu(), num_prompt_frames=draft.prompt.shape[-1], request=request
        )


def _checked_melody(levels: Int[Tensor, "T P"], config: MelodyConfig) -> Int[Tensor, "T P"]:
    low, high = int(levels.min()), int(levels.max())
    if levels.shape[1] != config.num_pitches or not 0 <= low <= high <= FULL_LEVEL:
        raise InvalidRequest(
            f"melody_chroma: {levels.shape[1]} pitch classes with levels from {low} to {high}; this model takes "
            f"{config.num_pitches} from 0 to {FULL_LEVEL}: give the melody as audio"
        )
    return levels.to("cpu", torch.long)


def _checked_style(codes: Int[Tensor, "K L"], config: StyleConfig) -> Int[Tensor, "K L"]:
    low, high = int(codes.min()), int(codes.max())
    if len(codes) > config.num_codebooks or not 0 <= low <= high < config.codebook_size:
        raise InvalidRequest(
            f"style_codes: {len(codes)} codebooks with codes from {low} to {high}; this model has "
            f"{config.num_codebooks} with codes from 0 to {config.codebook_size - 1}: give the style as audio"
        )
    return codes.to("cpu", torch.long)
