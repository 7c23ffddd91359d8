"""``regenerate``: the music of a file again, from the settings in its tags."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.apps.cli.generate_options import add_regenerate_options
from descant.apps.cli.options import AUDIO_FORMATS
from descant.apps.cli.outputs import Target, audio_target, check_apart, codes_target, note
from descant.apps.cli.parser import Commands
from descant.apps.cli.progress import waiting
from descant.apps.cli.results import Writer, make
from descant.errors import AudioError, CheckpointError, InvalidRequest, naming

if TYPE_CHECKING:
    from descant.adapters import Adapter
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request

KEPT = ("made_from", "best_of", "scores", "dropped")
"""Entries of the tags that a clip generated again does not know."""


def add_commands(commands: Commands) -> None:
    """Adds ``regenerate``."""
    help = "make the music of a file again, from the settings in its tags"
    add_regenerate_options(
        commands.add("regenerate", help, "descant regenerate piano.wav -o again.wav", run=regenerate)
    )


def regenerate(arguments: argparse.Namespace) -> None:
    """Makes a file's music again, with the settings and the weights that its tags name."""
    with waiting(f"reading {arguments.file}"):
        request, writer = _recorded_request(arguments)
    make(writer, [request], arguments)


def _recorded_request(arguments: argparse.Namespace) -> tuple["Request", "Writer"]:
    from descant import load
    from descant.apps.cli.recorded_model import folder_named_in
    from descant.audio import Clip, read_info
    from descant.provenance import prompt_of, request_from_info

    source = Path(arguments.file)
    info = read_info(source)
    if not info:
        raise AudioError(
            f"{arguments.file!r} does not say how it was made; only files that descant generate has written do, "
            "without --stream"
        )
    clip = Clip.read(source)
    with naming(f"the tags of {arguments.file!r}"):
        request = request_from_info(info)
        given = prompt_of(info, _as_made(info, clip))
    if given is not None:
        request = replace(request, prompt=Clip(given.samples / _recorded_gain(info), given.sample_rate_hz))
    lufs = arguments.loudness if "loudness" in arguments else _recorded_loudness(info)
    target = _regenerated_target(arguments, source)
    codes = None if arguments.save_codes is None else codes_target("--save-codes", arguments.save_codes, 1)
    check_apart(target, codes, arguments.json)
    name = _recorded(info, "model") if arguments.model is None else arguments.model
    folder = None if arguments.model is not None else folder_named_in(arguments.file, name)
    device, precision = (getattr(arguments, key) or _recorded(info, key) for key in ("device", "precision"))
    model = load(name, device=device, precision=precision, folder=folder)
    if model.fingerprint != info.get("model_fingerprint"):
        difference = f"{name!r} has other weights than the model that made {arguments.file!r}"
        if arguments.model is None:
            raise CheckpointError(f"{difference}; name a model with --model, and the music will differ")
        note(f"note: {difference}; the music will differ")
    request = replace(request, adapters=tuple(_recorded_adapters(arguments, model, info)))
    kept = {name: info[name] for name in KEPT if name in info}
    return request, Writer(model, target, codes, lufs, kept)


def _recorded_adapters(
    arguments: argparse.Namespace, model: "MusicGen", info: dict[str, Any]
) -> list[tuple["Adapter", float]]:
    """The adapters that the file names, at their strengths. They are found by their checksums among those that the user
    gives: a folder is not opened on a file's word."""
    from descant.checkpoints.trust import shown

    given = {adapter.fingerprint: adapter for adapter in map(model.load_adapter, arguments.adapter)}
    adapters = []
    for entry in info.get("adapters") or []:
        adapter = given.pop(entry.get("fingerprint"), None)
        if adapter is None:
            raise InvalidRequest(
                f"{arguments.file!r:.200} was made with the adapter {shown(entry['name'])}; "
                "add --adapter with its folder"
            )
        adapters.append((adapter, entry["strength"]))
    if given:
        name = next(iter(given.values())).name
        raise InvalidRequest(
            f"--adapter: {arguments.file!r:.200} was not made with {name!r:.80}, or with another version"
        )
    return adapters


def _regenerated_target(arguments: argparse.Namespace, source: Path) -> Target:
    """The target of the new file; without ``--output`` a name like ``SOURCE-again`` that is still free."""
    suffix = source.suffix.lower().lstrip(".")
    suffix = suffix if suffix in AUDIO_FORMATS else "wav"
    if arguments.output is None:
        target = audio_target(f"{source.stem}-again.{arguments.format or suffix}", arguments.format, 1)
        return replace(target, may_replace=False)
    target = audio_target(arguments.output, arguments.format, 1, takes_stdout=True)
    return replace(target, suffix=suffix) if target.is_stdout and arguments.format is None else target


def _recorded(info: dict[str, Any], key: str) -> str:
    value = info.get(key)
    if not isinstance(value, str):
        raise AudioError(f"the file does not say which {key} made it; give --{key}")
    return value


def _recorded_loudness(info: dict[str, Any]) -> float | None:
    lufs = info.get("loudness_lufs")
    if lufs is not None and not (isinstance(lufs, int | float) and -70 <= lufs <= 0):
        raise AudioError(f"the file says its loudness is {lufs!r:.60}; give one with --loudness")
    return None if lufs is None else float(lufs)


def _recorded_gain(info: dict[str, Any]) -> float:
    """The gain from the generated samples to those in the file."""
    gain = info.get("gain", 1.0)
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not 1e-6 < gain < 1e6:
        raise AudioError(f"the file says its gain is {gain!r:.20}, which is impossible; generate it anew")
    return float(gain)


def _as_made(info: dict[str, Any], clip: "Clip") -> "Clip":
    """The clip at the rate it was generated at; Opus files have another."""
    from descant.audio.files import MAX_RATE_HZ, MIN_RATE_HZ

    rate_hz = info.get("sample_rate_hz", clip.sample_rate_hz)
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, int) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"the file says it was made at {rate_hz!r:.20} Hz, which is impossible; generate it anew")
    return clip.resample(rate_hz)
