"""Quality of a codec on held-out clips, compared with Opus: the check before a language model is trained on it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from einops import rearrange

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.errors import InvalidRequest
from descant.evaluation.codec_quality import codebook_usage, log_mel_distance, opus_round_trip, si_sdr_db
from descant.evaluation.report import markdown_table, mean_with_interval, paired_difference
from descant.shapes import Codes

OPUS_KILOBITS_PER_SECOND = 6
NARROW_BAND_HZ = 4_000.0
"""Opus's bandwidth at 6 kb/s: the distance below it excludes the effect of this cutoff."""


def measure_codec(codec: AudioCodec, clips: Sequence[Clip]) -> dict[str, Any]:
    """Distances of the codec's and of Opus's reconstructions to the same clips, and the use of the codebooks.

    Raises:
        InvalidRequest: there are no clips, or one has another sample rate than the codec or is too short.
        MissingExtra: opus-tools is not installed.
    """
    if not clips:
        raise InvalidRequest("no clips: a codec report needs at least one")
    rows, codes = [], []
    for clip, ours, clip_codes in _round_trips(codec, clips):
        opus = opus_round_trip(clip, OPUS_KILOBITS_PER_SECOND)
        rows.append(
            {"ours": _distances(clip, ours), "opus": _distances(clip, opus.clip) | {"kbps": opus.kilobits_per_second}}
        )
        codes.append(clip_codes)
    usage = codebook_usage(torch.cat(codes, dim=-1), codec.codebook_size)
    names = tuple(rows[0]["ours"])
    return {
        "num_clips": len(clips),
        "kilobits_per_second": codec.num_codebooks
        * codec.frame_rate_hz
        * (codec.codebook_size - 1).bit_length()
        / 1_000,
        "opus_kilobits_per_second": mean_with_interval([row["opus"]["kbps"] for row in rows]),
        "ours": {name: mean_with_interval([row["ours"][name] for row in rows]) for name in names},
        "opus": {name: mean_with_interval([row["opus"][name] for row in rows]) for name in names},
        "ours_minus_opus": {
            name: paired_difference([row["ours"][name] for row in rows], [row["opus"][name] for row in rows])
            for name in names
        },
        "codebooks": [asdict(book) for book in usage],
    }


def codec_markdown(measured: dict[str, Any]) -> str:
    """The result of ``measure_codec`` as two tables."""
    names = {
        "log_mel_db": "log-mel distance, dB (lower is better)",
        "log_mel_below_4_khz_db": "the same below 4 kHz",
        "si_sdr_db": "SI-SDR, dB (higher is better)",
    }
    ours = f"this codec, {measured['kilobits_per_second']:.2g} kb/s"
    opus = f"Opus at {OPUS_KILOBITS_PER_SECOND} kb/s, actually {measured['opus_kilobits_per_second'].value:.2g} kb/s"
    distances = [
        [label, measured["ours"][name], measured["opus"][name], measured["ours_minus_opus"][name]]
        for name, label in names.items()
    ]
    books = [[index, book["share_used"], book["perplexity"]] for index, book in enumerate(measured["codebooks"])]
    return (
        f"{measured['num_clips']} held-out clips; means with 95 % intervals.\n\n"
        + markdown_table(["measure", ours, opus, "difference"], distances)
        + "\n"
        + markdown_table(["codebook", "share of entries used", "perplexity"], books)
    )


@torch.inference_mode()
def _round_trips(codec: AudioCodec, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Clip, Codes]]:
    """Each clip, its reconstruction by the codec at the same length, and its codes."""
    device = next(codec.parameters()).device
    for clip in clips:
        if clip.sample_rate_hz != codec.sample_rate_hz or len(clip.samples) != codec.num_channels:
            raise InvalidRequest(
                f"a clip of {len(clip.samples)} channels at {clip.sample_rate_hz} Hz: this codec takes "
                f"{codec.num_channels} at {codec.sample_rate_hz} Hz; resample the clips first"
            )
        codes = codec.encode(rearrange(clip.samples, "C N -> 1 C N").to(device))
        wave = codec.decode(codes)[0, :, : clip.samples.shape[-1]]
        yield clip, Clip(samples=wave.float().cpu(), sample_rate_hz=clip.sample_rate_hz), codes.cpu()


def _distances(reference: Clip, estimate: Clip) -> dict[str, float]:
    rate = reference.sample_rate_hz
    return {
        "log_mel_db": log_mel_distance(reference.samples, estimate.samples, rate),
        "log_mel_below_4_khz_db": log_mel_distance(reference.samples, estimate.samples, rate, NARROW_BAND_HZ),
        "si_sdr_db": si_sdr_db(reference.samples, estimate.samples),
    }
