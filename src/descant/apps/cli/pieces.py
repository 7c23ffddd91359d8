"""What ``generate`` and ``regenerate`` write and print for each piece of music."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.outputs import Target, show, slug
from descant.version import __version__

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request


@dataclass(frozen=True)
class Piece:
    """One file to be made; the number is its place in the run."""

    number: int
    request: "Request"


@dataclass(frozen=True)
class Written:
    """A piece of which at least the audio is complete on disk."""

    piece: Piece
    seed: int
    audio: Path
    codes: Path | None = None


@dataclass(frozen=True)
class Writer:
    """Writes what was made: audio, and codes where they are asked for.

    Args:
        kept: what a file's tags said that music made anew does not know: what it was made from.
    """

    model: "MusicGen"
    target: Target
    codes: Target | None
    loudness_lufs: float | None
    kept: dict[str, Any] = field(default_factory=dict)

    def write_audio(self, piece: Piece, clip: "Clip") -> Path:
        """Writes one piece and gives its path."""
        from descant.audio.clip import PEAK_LIMIT
        from descant.generation.audio import attenuate

        given = clip.info["prompt_samples"]
        if given is not None and self.loudness_lufs is None:
            clip = replace(clip, samples=attenuate(clip.samples, given, PEAK_LIMIT, clip.sample_rate_hz))
        level, gain = clip.leveled(self.loudness_lufs)
        made = {"loudness_lufs": self.loudness_lufs, "gain": gain, "sample_rate_hz": clip.sample_rate_hz}
        info = {**clip.info, **self.kept, **made}
        content = replace(level, info=info).to_bytes(self.target.suffix)
        return self.target.write(content, _stem(piece, clip))

    def write_codes(self, piece: Piece, clip: "Clip", target: Target, audio: Path) -> Path:
        """Writes one piece's codes, in a folder under the name of its audio, and gives their path."""
        from descant.apps.cli.codec import header_of
        from descant.checkpoints.codes import codes_to_bytes

        assert clip.codes is not None
        content = codes_to_bytes(clip.codes, header_of(self.model, clip.samples.shape[-1]))
        return target.write(content, audio.stem if self.target.is_folder else _stem(piece, clip))


def _stem(piece: Piece, clip: "Clip") -> str:
    """The name of a result in a folder. It begins with a digit, so that no prompt makes a name that systems reserve."""
    return f"{piece.number:04d}-seed{clip.info['seed']}-{slug(piece.request.text)}"


def write_piece(piece: Piece, clip: "Clip", writer: Writer, written: list[Written]) -> None:
    """Writes a piece and adds it to what was written, as soon as its audio is complete."""
    audio = writer.write_audio(piece, clip)
    written.append(Written(piece, clip.info["seed"], audio))
    if writer.codes is not None:
        written[-1] = replace(written[-1], codes=writer.write_codes(piece, clip, writer.codes, audio))


def show_written(
    model: "MusicGen", written: list[Written], seconds_taken: float, as_json: bool, also: dict[str, Any] | None = None
) -> None:
    """Prints what was written: all of it, or the finished part, with ``also`` saying why there is no more."""
    codes_files = [str(one.codes) for one in written if one.codes is not None]
    result = {
        "files": [str(one.audio) for one in written],
        "codes_files": codes_files,
        "seeds": [one.seed for one in written],
        "prompts": [one.piece.request.text for one in written],
        "duration_s": written[0].piece.request.result_s,
        "sample_rate_hz": model.sample_rate_hz,
        "seconds_taken": seconds_taken,
        "real_time_factor": seconds_taken / total_duration_s([one.piece for one in written]),
        "model": model.name,
        "device": model.device,
        "precision": model.precision,
        "version": __version__,
        **(also or {}),
    }
    show(result, [str(path) for one in written for path in (one.audio, one.codes) if path is not None], as_json)


def total_duration_s(pieces: list[Piece]) -> float:
    return sum(piece.request.result_s for piece in pieces)
