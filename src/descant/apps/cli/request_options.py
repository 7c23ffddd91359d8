"""From the options of ``generate`` to requests."""

import argparse
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from descant.apps.cli.options import add_salvage_option, number, whole_number
from descant.errors import AudioError, InvalidRequest

if TYPE_CHECKING:
    from descant.api import MusicGen
    from descant.audio import Clip
    from descant.generation.request import Request

DURATION_S = 10.0
PARTS = ("auto", "stems", "harmonic", "mix")


def add_time_options(parser: argparse.ArgumentParser) -> None:
    """Length, seeds and variations, and what changes over time."""
    parser.add_argument(
        "-d", "--duration", type=number, metavar="SECONDS", help=f"length, up to an hour (default: {DURATION_S:g})"
    )
    parser.add_argument(
        "--seed", type=whole_number, metavar="N", help="the same seed gives the same music (default: random)"
    )
    parser.add_argument(
        "--count",
        type=whole_number,
        default=1,
        metavar="N",
        help="variations of each prompt; their seeds count up from --seed",
    )
    parser.add_argument(
        "--best-of",
        type=whole_number,
        default=1,
        metavar="N",
        help="make N variations, keep the one that fits the prompt best",
    )
    group = parser.add_argument_group("over time")
    group.add_argument(
        "--then",
        type=second_and_text,
        action="append",
        default=[],
        metavar="'SECOND TEXT'",
        help="another prompt from this second on; may be given several times: --then '20 drums' --then '40 full band'",
    )
    group.add_argument(
        "--stride",
        type=number,
        metavar="SECONDS",
        help="how far the window slides in music longer than the model makes at once",
    )
    group.add_argument(
        "--loop", type=whole_number, metavar="BARS", help="make a loop of this many bars, in the prompt's tempo"
    )
    group.add_argument(
        "--beats-per-bar", type=whole_number, metavar="N", help="beats in a bar of the loop (default: 4)"
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """How codes are sampled and guided."""
    group = parser.add_argument_group("sampling (default: what suits the model)")
    group.add_argument("--temperature", type=number, metavar="T", help="above 0; 1 is the model's own distribution")
    group.add_argument(
        "--top-k", type=whole_number, metavar="K", help="sample among the K likeliest codes; 0: among all"
    )
    group.add_argument(
        "--top-p",
        type=number,
        metavar="P",
        help="sample among the likeliest codes that together have probability P; 1: all",
    )
    group.add_argument("--greedy", action="store_true", default=None, help="always take the likeliest code")
    group.add_argument("--guidance", type=number, metavar="G", help="0 ignores the prompt, 1 is plain, 3 follows it")
    group.add_argument(
        "--text-guidance",
        type=number,
        metavar="T",
        help="with --style: how much more the prompt counts than the style, 0 to 100; try 5",
    )
    group.add_argument(
        "--melody-guidance",
        type=number,
        metavar="M",
        help="how much more the --melody counts than the prompt, 0 to 100",
    )
    group.add_argument(
        "--guidance-at",
        type=second_and_scale,
        action="append",
        default=[],
        metavar="SECOND:G",
        help="guidance reaches G at this second; may be given several times: --guidance 4 --guidance-at 2:2",
    )


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """What the music is conditioned on besides the prompt."""
    group = parser.add_argument_group("conditions besides the prompt (each FILE may be a recording or generated)")
    group.add_argument("--negative", metavar="TEXT", help="what the music should not sound like")
    group.add_argument(
        "--long-prompt",
        choices=("error", "cut"),
        default="error",
        help="a text longer than the model reads: refuse it, or read its beginning (default: error)",
    )
    group.add_argument("--continue", dest="prompt", metavar="FILE", help="music to continue; --duration includes it")
    group.add_argument("--melody", metavar="FILE", help="a tune to follow")
    group.add_argument(
        "--melody-part",
        choices=PARTS,
        help="the part of the melody file to use: all stems but drums and bass, the harmonic part, or the whole mix "
        "(default: the model's choice)",
    )
    group.add_argument("--style", metavar="FILE", help="music to resemble, 3 s from its middle")
    add_salvage_option(group)


def second_and_text(text: str) -> tuple[float, str]:
    """``20 drums enter`` in its two parts."""
    second, space, prompt = text.strip().partition(" ")
    if not (space and prompt.strip()):
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected a second and a prompt, for example '20 drums enter'")
    return number(second), prompt.strip()


def second_and_scale(text: str) -> tuple[float, float]:
    """``2:1.5`` in its two parts."""
    second, colon, scale = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r:.60}: expected SECOND:SCALE, for example 2:1.5")
    return number(second), number(scale)


def refuse_conditions(arguments: argparse.Namespace) -> None:
    """Refuses what the model would refuse, before it is loaded."""
    from descant.apps.cli.model_names import config_of

    for name in ("melody", "style"):
        if getattr(arguments, name) is not None and getattr(config_of(arguments.model), name) is None:
            raise InvalidRequest(f"--{name}: model {arguments.model!r:.200} takes no {name}; leave it out")
    if arguments.melody_part is not None and arguments.melody is None:
        raise InvalidRequest("--melody-part: says what is heard of a --melody; give both, or neither")
    if arguments.melody_guidance is not None and arguments.melody is None:
        raise InvalidRequest("--melody-guidance: pushes a --melody; give both, or neither")
    if arguments.text_guidance is not None and arguments.style is None:
        raise InvalidRequest("--text-guidance: weighs the text against a --style; give both, or neither")
    if arguments.loop is None and arguments.beats_per_bar is not None:
        raise InvalidRequest("--beats-per-bar: says how long a --loop's bars are; give both, or neither")
    if arguments.best_of < 1:
        raise InvalidRequest(f"--best-of {arguments.best_of}: at least 1 is made")
    if arguments.loop is not None and arguments.duration is not None:
        raise InvalidRequest("--loop: a loop is as long as its bars; leave --duration out")


def requests_of(arguments: argparse.Namespace) -> list["Request"]:
    """One request for every file, with everything checked that can be checked without a model."""
    from descant.generation.request import Guidance, Request, Sampling

    Sampling(**_asked_sampling(arguments))
    Guidance(**_asked_guidance(arguments))
    seed = secrets.randbits(31) if arguments.seed is None else arguments.seed
    duration_s = DURATION_S if arguments.duration is None else arguments.duration
    requests = [
        Request(
            text=text,
            timeline=tuple(arguments.then),
            negative_text=arguments.negative,
            long_prompt=arguments.long_prompt,
            duration_s=duration_s,
            stride_s=arguments.stride,
            loop_bars=arguments.loop,
            beats_per_bar=4 if arguments.beats_per_bar is None else arguments.beats_per_bar,
            melody_part=arguments.melody_part,
            seed=seed + variation * arguments.best_of,
        )
        for text in arguments.prompts
        for variation in range(arguments.count)
    ]
    melody = None if arguments.melody is None else _read_melody(arguments, requests[0])
    style = None if arguments.style is None else _read_style(arguments)
    requests = [replace(request, melody=melody, style=style) for request in requests]
    if arguments.prompt is not None:
        prompt = _read_prompt(arguments.prompt, duration_s, arguments.salvage)
        requests = [replace(request, prompt=prompt) for request in requests]
    return requests


def settled(request: "Request", arguments: argparse.Namespace, model: "MusicGen") -> "Request":
    """The request with what was asked for, over what suits the model."""
    guidance = replace(model.default_guidance, **_asked_guidance(arguments))
    sampling = replace(model.default_sampling, **_asked_sampling(arguments))
    return replace(request, sampling=sampling, guidance=guidance)


def _asked_guidance(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {
        "scale": arguments.guidance,
        "text_scale": arguments.text_guidance,
        "melody_scale": arguments.melody_guidance,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return {**given, "schedule": tuple(arguments.guidance_at)}


def _asked_sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "greedy")}
    return {name: value for name, value in asked.items() if value is not None}


def _read_melody(arguments: argparse.Namespace, request: "Request") -> "Clip":
    """As much of a melody as can be followed, and a second more: of a long recording the rest is not read."""
    from descant.apps.cli.model_names import config_of

    config = config_of(arguments.model).melody
    assert config is not None
    window_s = config.window_samples / config.sample_rate_hz
    needed_s = max(request.result_s, config.num_frames / config.frame_rate_hz) + window_s + 1
    return _read(arguments.melody, arguments.salvage, duration_s=needed_s)


def _read_style(arguments: argparse.Namespace) -> "Clip":
    """The middle of a piece of music, as much as the model listens to; all of a shorter one."""
    from descant.apps.cli.model_names import config_of
    from descant.audio import audio_header

    config = config_of(arguments.model).style
    assert config is not None
    facts = audio_header(arguments.style, salvage=arguments.salvage)
    num_samples = round(config.excerpt_s * facts.sample_rate_hz)
    start = max(0, facts.num_samples - num_samples) // 2
    rate_hz = facts.sample_rate_hz
    return _read(arguments.style, arguments.salvage, start / rate_hz, num_samples / rate_hz)


def _read(file: str, salvage: bool, offset_s: float = 0.0, duration_s: float | None = None) -> "Clip":
    """A clip from a file, with what the file says of how it was made."""
    from descant.audio import Clip, read_info

    clip = Clip.read(file, offset_s=offset_s, duration_s=duration_s, salvage=salvage)
    try:
        return replace(clip, info=read_info(file))
    except AudioError:  # a format that carries no tags of ours
        return clip


def _read_prompt(file: str, duration_s: float, salvage: bool) -> "Clip":
    from descant.audio import audio_header

    facts = audio_header(file, salvage=salvage)
    if facts.duration_s >= duration_s:
        raise InvalidRequest(
            f"--continue {file!r} is {facts.duration_s:g} s long, -d counts it in and is {duration_s:g}; ask for more"
        )
    return _read(file, salvage)
