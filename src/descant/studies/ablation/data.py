"""The data of a study: a folder with the codec, the codes of all clips, and crops of held-out recordings to judge by.

``prepare`` writes it; what is there already is kept. The codes are those of ``data/tokenize.py`` with the melodies of
``data/melodies.py``. A held-out crop is a prompt: its text and melody are what a model is given, its recording is what
the result is compared with.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from descant.atomic import write_atomically
from descant.audio import Clip, audio_header, read_samples
from descant.checkpoints.native import load_codec
from descant.codec.any import AnyCodecConfig
from descant.codec.base import AudioCodec
from descant.conditioning.chroma import MelodyConfig
from descant.data.clip_conditions import clip_conditions
from descant.data.manifest import ClipRecord, read_manifest
from descant.data.melodies import add_melodies
from descant.data.token_dataset import TokenBatch, TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.errors import DataError
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips, embed_clips
from descant.evaluation.embedders import Embedder
from descant.model import MusicGenConfig

NUM_PROMPTS = 160
FORMAT = 1


@dataclass(frozen=True)
class Prompt:
    """A held-out crop: ``clip`` is the place of its clip among the held-out clips."""

    clip: int
    first_frame: int
    text: str
    genre: str


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out crops of a folder, all of ``num_frames`` frames."""

    num_frames: int
    prompts: tuple[Prompt, ...]


class StudyData:
    """A folder that ``prepare`` has written.

    Attributes:
        reference: all crops of the held-out recordings, those of one recording together.
        prompted: the recordings of the prompts, named by their number.
    """

    def __init__(self, folder: Path) -> None:
        """Raises:
        DataError: the folder is missing or not complete.
        """
        self.folder = folder
        try:
            stored = json.loads((folder / "held_out.json").read_text(encoding="utf-8"))
            prompts = tuple(Prompt(**prompt) for prompt in stored["prompts"])
            self.held_out = HeldOut(num_frames=stored["num_frames"], prompts=prompts)
            self.reference, self.prompted = (read_embedded(folder / f"{name}.safetensors") for name in _SETS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{str(folder)!r}: no complete data of a study ({error}); python -m starter_corpus study-data makes it"
            ) from error
        self.identity: dict[str, Any] = {"prompts": stored, "tokens": self.batches(TokenBatchConfig()).identity}

    def codec(self) -> tuple[AudioCodec, AnyCodecConfig]:
        """The codec of the codes."""
        return load_codec(self.folder / "codec")

    def batches(self, config: TokenBatchConfig, model: MusicGenConfig | None = None) -> TokenBatches:
        """The codes, with the conditions of a model of this shape."""
        conditions = () if model is None else clip_conditions(model)
        return TokenBatches(self.folder / "tokens", config, conditions)

    def prompt_batches(self, config: TokenBatchConfig, model: MusicGenConfig) -> list[TokenBatch]:
        """The held-out crops in order, in batches of ``config.batch_size``."""
        clips = self.batches(TokenBatchConfig(split="valid", batch_size=config.batch_size), model)
        prompts = self.held_out.prompts
        parts = [prompts[start : start + config.batch_size] for start in range(0, len(prompts), config.batch_size)]
        return [
            clips.crops([(prompt.clip, prompt.first_frame, prompt.text) for prompt in part], self.held_out.num_frames)
            for part in parts
        ]

    def recording(self, number: int) -> Clip:
        """The recording of a prompt."""
        return Clip.read(self.folder / "recordings" / f"{number:04d}.wav")


_SETS = ("reference", "prompted")


def prepare(
    manifest: Path,
    folder: Path,
    codec_folder: Path,
    embedder: Embedder,
    *,
    num_frames: int = 300,
    num_prompts: int = NUM_PROMPTS,
    say: Callable[[str], None] = print,
) -> StudyData:
    """Writes the data of a study; what an interrupted call has finished is kept.

    Args:
        codec_folder: of the codec that makes the codes.
        embedder: of the distances to the held-out recordings.
        num_frames: length of the held-out crops, which should be that of the training crops.

    Raises:
        DataError: the manifest is broken, no held-out clip is long enough, or the folder holds other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "codec").exists():
        shutil.copytree(codec_folder, folder / "codec")
    codec, _ = load_codec(folder / "codec")
    records = read_manifest(manifest)
    say(f"codes of {len(records)} clips")
    tokenize(records, codec, folder / "tokens", progress=lambda done, whole: say(f"codes of {done} of {whole} clips"))
    if not (folder / "held_out.json").exists():
        held_out = [record for record in records if record.split == "valid"]
        prompts = _chosen(held_out, num_frames / codec.frame_rate_hz, num_prompts, codec.frame_rate_hz)
        _write_recordings(held_out, prompts, num_frames / codec.frame_rate_hz, codec.frame_rate_hz, folder)
        say(f"vectors of {len(held_out)} held-out recordings by {embedder.label}")
        _write_embedded(held_out, len(prompts), num_frames / codec.frame_rate_hz, embedder, folder)
        stored = {"format": FORMAT, "num_frames": num_frames, "prompts": [asdict(prompt) for prompt in prompts]}
        write_atomically(folder / "held_out.json", json.dumps(stored, indent=1).encode())
    # Last, since only rows with a melody read them.
    add_melodies(
        folder / "tokens",
        codec,
        MelodyConfig(part="mix"),
        progress=lambda done, whole: say(f"melodies of {done} of {whole} clips"),
    )
    return StudyData(folder)


def _chosen(records: Sequence[ClipRecord], duration_s: float, count: int, rate_hz: float) -> list[Prompt]:
    """Crops of the recordings: the first one of each, then the second one of each, and so on."""
    ends = [int(record.duration_s // duration_s) for record in records]
    places = [(part, clip) for part in range(max(ends, default=0)) for clip, end in enumerate(ends) if part < end]
    prompts = []
    for part, clip in places[:count]:
        captions = records[clip].captions or ("",)
        text, genre = captions[part % len(captions)], str(records[clip].tags.get("genre", "unknown"))
        prompts.append(Prompt(clip, round(part * duration_s * rate_hz), text, genre))
    if not prompts:
        raise DataError(f"no held-out recording has {duration_s:g} s: hold out longer ones")
    return prompts


def _write_recordings(
    records: Sequence[ClipRecord], prompts: Sequence[Prompt], duration_s: float, rate_hz: float, folder: Path
) -> None:
    (folder / "recordings").mkdir(exist_ok=True)
    for number, prompt in enumerate(prompts):
        crop = _crop(records[prompt.clip].path, prompt.first_frame / rate_hz, duration_s)
        crop.save(folder / "recordings" / f"{number:04d}.wav")


def _write_embedded(
    records: Sequence[ClipRecord], num_prompts: int, duration_s: float, embedder: Embedder, folder: Path
) -> None:
    prompted = ((str(number), Clip.read(folder / "recordings" / f"{number:04d}.wav")) for number in range(num_prompts))
    write_embedded(embed_clips(embedder, prompted), folder / "prompted.safetensors")
    crops = (
        (f"{clip}/{part}", _crop(record.path, part * duration_s, duration_s))
        for clip, record in enumerate(records)
        for part in range(int(record.duration_s // duration_s))
    )
    reference = together(embed_clips(embedder, crops), lambda name: name.partition("/")[0])
    write_embedded(reference, folder / "reference.safetensors")


def _crop(path: Path, first_s: float, duration_s: float) -> Clip:
    rate = audio_header(path).sample_rate_hz
    return Clip(read_samples(path, round(first_s * rate), round(duration_s * rate)), rate)


def together(clips: EmbeddedClips, group: Callable[[str], str]) -> EmbeddedClips:
    """The clips of each group as one, so that intervals are over groups: crops of one recording resemble each other."""
    groups: dict[str, list[EmbeddedClip]] = {}
    for clip in clips.clips:
        groups.setdefault(group(clip.name), []).append(clip)
    joined = [
        EmbeddedClip(name, torch.cat([clip.vectors for clip in members]), None) for name, members in groups.items()
    ]
    return EmbeddedClips(clips.embedder, tuple(joined))


def write_embedded(clips: EmbeddedClips, file: Path) -> None:
    """Stores vectors and label distributions so that ``read_embedded`` gives equal ones."""
    tensors = {f"vectors/{index}": clip.vectors.contiguous() for index, clip in enumerate(clips.clips)}
    for index, clip in enumerate(clips.clips):
        if clip.label_probabilities is not None:
            tensors[f"labels/{index}"] = clip.label_probabilities.contiguous()
    names = json.dumps([clip.name for clip in clips.clips])
    write_atomically(file, save(tensors, metadata={"embedder": clips.embedder, "names": names}))


def read_embedded(file: Path) -> EmbeddedClips:
    """What ``write_embedded`` stored.

    Raises:
        OSError: there is no such file.
    """
    if not file.exists():
        raise FileNotFoundError(f"no {file.name}")
    with safe_open(file, framework="pt") as stored:
        metadata, keys = stored.metadata(), set(stored.keys())
        clips = [
            EmbeddedClip(
                name,
                stored.get_tensor(f"vectors/{index}"),
                stored.get_tensor(f"labels/{index}") if f"labels/{index}" in keys else None,
            )
            for index, name in enumerate(json.loads(metadata["names"]))
        ]
    return EmbeddedClips(metadata["embedder"], tuple(clips))
