"""What is measured of a row: prediction of held-out crops, and the music that is generated for them.

Each value is the mean over held-out recordings with a bootstrap interval over them, except distances of sets, whose
intervals are over the generated clips. A measure that cannot be taken is left out with its reason.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.melody import FULL_LEVEL
from descant.data.token_dataset import TokenBatchConfig
from descant.errors import InvalidRequest
from descant.evaluation.agreement import measure_agreement, target_of
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.embedded_clips import embed_clips
from descant.evaluation.embedders import Embedder
from descant.evaluation.frechet import frechet_audio_distance
from descant.evaluation.kernel_distance import kernel_audio_distance
from descant.evaluation.label_kl import label_kl
from descant.evaluation.movement import measure_movement
from descant.evaluation.report import Estimate, mean_with_interval
from descant.evaluation.statistics import EmbeddingStatistics
from descant.generation.engine import Engine
from descant.generation.request import Request
from descant.model import MusicGenModel
from descant.nn.settings import own_settings
from descant.shapes import Codes
from descant.studies.ablation.cascade import Stage, generate_cascade
from descant.studies.ablation.data import StudyData, together
from descant.studies.ablation.run import AblationRun
from descant.training.lm import LMTask, other_caption

MIN_OF_GENRE = 5
"""Fewer recordings of a genre have no value of their own."""


def measure(run: AblationRun, models: Sequence[MusicGenModel], data: StudyData, embedder: Embedder) -> dict[str, Any]:
    """All measures of a trained row, as plain data."""
    predicted = prediction(run, models, data)
    began = time.process_time()
    codes, clips = generated(run, models, data)
    seconds = {"sampling_processor_s": time.process_time() - began}
    return {**predicted, **measure_music(codes, clips, data, embedder), **seconds}


def prediction(run: AblationRun, models: Sequence[MusicGenModel], data: StudyData) -> dict[str, Any]:
    """Cross-entropy of the held-out crops in nats a frame: the sum over codebooks, under the row's own factorisation.

    ``caption_gain`` is how much worse the same crops are predicted with another crop's caption.
    """
    prompts = data.held_out.prompts
    has_text = "text" in run.judging.conditions
    captions = [prompt.text if has_text else None for prompt in prompts]
    own = frame_nats(run, models, data, captions)
    result = {
        "nats_per_frame": _mean(own.tolist(), data),
        "nats_per_frame_of_each_crop": [round(value, 5) for value in own.tolist()],
        "nats_per_frame_by_genre": {
            genre: asdict(mean_with_interval([value for value, of in zip(own.tolist(), genres, strict=True) if of]))
            for genre in sorted({prompt.genre for prompt in prompts})
            if sum(genres := [prompt.genre == genre for prompt in prompts]) >= MIN_OF_GENRE
        },
    }
    if has_text:
        others = [other_caption(captions, index) for index in range(len(captions))]
        result["caption_gain"] = _mean((frame_nats(run, models, data, others) - own).tolist(), data)
    return result


def frame_nats(
    run: AblationRun, models: Sequence[MusicGenModel], data: StudyData, captions: list[str | None]
) -> Float[Tensor, " crops"]:
    """The cross-entropy of each held-out crop, given these captions and, where the row has it, its own melody."""
    melody = "melody" if "melody" in run.judging.conditions else None
    total = torch.zeros(len(captions))
    for stage, model in zip(run.stages, models, strict=True):
        task = LMTask(model, stage.task, data.prompt_batches(stage.batches, model.config))
        total += task.cross_entropies(captions, melody)[:, list(stage.codebooks)].sum(dim=1)
    return total


@own_settings()
def generated(run: AblationRun, models: Sequence[MusicGenModel], data: StudyData) -> tuple[Codes, list[Clip]]:
    """The codes and the music for every prompt, each with a seed of its own."""
    requests = prompt_requests(run, models[0], data)
    model, size = models[0], run.judging.batch_size
    if run.fine is None:
        music = Engine(model, max_batch=size).generate(requests)
        codes = torch.stack([one.codes for one in music])
        return codes, [Clip(one.wave, model.codec.sample_rate_hz) for one in music]
    first, second = (Stage(model, stage.codebooks) for model, stage in zip(models, run.stages, strict=True))
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    codes = torch.cat([generate_cascade(first, second, batch) for batch in batches])
    return codes, decoded(codes, model, size)


def prompt_requests(run: AblationRun, model: MusicGenModel, data: StudyData) -> list[Request]:
    """A request for each held-out crop, under the conditions that the row is judged with."""
    duration_s = data.held_out.num_frames / model.codec.frame_rate_hz
    rows = [row for batch in data.prompt_batches(run.batches, model.config) for row in batch.conditions]
    requests = []
    for number, (prompt, row) in enumerate(zip(data.held_out.prompts, rows, strict=True)):
        melody = row["melody"] if "melody" in run.judging.conditions else None
        requests.append(
            Request(
                text=prompt.text if "text" in run.judging.conditions else None,
                melody_chroma=None if melody is None else (melody * FULL_LEVEL).round().long(),
                duration_s=duration_s,
                long_prompt="cut",
                seed=number,
            )
        )
    return requests


def decoded(codes: Codes, model: MusicGenModel, batch_size: int) -> list[Clip]:
    """The music of codes."""
    with torch.inference_mode():
        waves = [wave for part in codes.split(batch_size) for wave in model.codec.decode(part.to(model.device)).cpu()]
    return [Clip(wave.clone(), model.codec.sample_rate_hz) for wave in waves]


def measure_music(codes: Codes | None, clips: Sequence[Clip], data: StudyData, embedder: Embedder) -> dict[str, Any]:
    """Distances to the held-out recordings, agreement with the prompts, copying of their recordings, and movement.

    ``copied`` is the share of frames whose first code is that of the prompt's recording, ``copied_by_chance`` the share
    that is that of another prompt's; ``melody`` and ``melody_by_chance`` are the chroma cosines likewise.

    Args:
        clips: one for each prompt.
        codes: their codes; None leaves copying out.
    """
    result: dict[str, Any] = {"embedder": embedder.label, "left_out": {}}
    recording_of = [str(prompt.clip) for prompt in data.held_out.prompts]
    vectors = embed_clips(embedder, ((str(number), clip) for number, clip in enumerate(clips)))
    grouped = together(vectors, lambda name: recording_of[int(name)])
    distances: dict[str, Callable[[], Estimate]] = {
        "frechet": lambda: frechet_audio_distance(EmbeddingStatistics.of_clips(data.reference), grouped),
        "kernel": lambda: kernel_audio_distance(data.reference, grouped),
        "label_kl": lambda: label_kl(data.prompted, vectors),
    }
    for name, distance in distances.items():
        try:
            result[name] = asdict(distance())
        except InvalidRequest as error:
            result["left_out"][name] = str(error)
    recordings = [data.recording(number) for number in range(len(clips))]
    shift = len(clips) // 2
    result["melody"] = _mean([chroma_cosine(*pair) for pair in zip(clips, recordings, strict=True)], data)
    others = recordings[shift:] + recordings[:shift]
    result["melody_by_chance"] = _mean([chroma_cosine(*pair) for pair in zip(clips, others, strict=True)], data)
    if codes is not None:
        result |= _copying(codes, data)
    return result | _agreement(clips, data) | _movement(clips, data)


def _copying(codes: Codes, data: StudyData) -> dict[str, Any]:
    ours, theirs = codes[:, 0].cpu().numpy(), held_out_codes(data)[:, 0].numpy()
    shares = np.stack([(theirs == own).mean(axis=1) for own in ours])
    own, count = np.diag(shares), len(shares)
    chance = (shares.sum(axis=1) - own) / max(1, count - 1)
    return {"copied": _mean(own.tolist(), data), "copied_by_chance": _mean(chance.tolist(), data)}


def held_out_codes(data: StudyData) -> Codes:
    """The codes of the held-out crops."""
    clips = data.batches(TokenBatchConfig(split="valid"))
    rows = [(prompt.clip, prompt.first_frame, None) for prompt in data.held_out.prompts]
    return clips.crops(rows, data.held_out.num_frames).codes


def _agreement(clips: Sequence[Clip], data: StudyData) -> dict[str, Any]:
    found = [measure_agreement(clip, target_of(text)) for clip, text in zip(clips, _texts(data), strict=True)]
    return _means({"tempo": [one.tempo for one in found], "key": [one.key for one in found]}, data)


def _movement(clips: Sequence[Clip], data: StudyData) -> dict[str, Any]:
    found = [asdict(measure_movement(clip)) for clip in clips]
    return _means({name: [one[name] for one in found] for name in found[0]}, data)


def _texts(data: StudyData) -> list[str]:
    return [prompt.text for prompt in data.held_out.prompts]


def _means(values: dict[str, list[float | None]], data: StudyData) -> dict[str, Any]:
    """The means of values that some clips do not have; a measure that none has is left out."""
    return {name: _mean(column, data) for name, column in values.items() if any(value is not None for value in column)}


def _mean(values: Sequence[float | None], data: StudyData) -> dict[str, Any]:
    """The mean over recordings, of which each is the mean of its crops."""
    of_recording: dict[int, list[float]] = {}
    for value, prompt in zip(values, data.held_out.prompts, strict=True):
        if value is not None:
            of_recording.setdefault(prompt.clip, []).append(value)
    return asdict(mean_with_interval([float(np.mean(crops)) for crops in of_recording.values()]))
