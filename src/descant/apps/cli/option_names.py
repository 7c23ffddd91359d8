"""The library's error messages with the names of the command line: ``--top-p 2: ...`` for ``top_p=2: ...``.

Messages of the library name the arguments and fields that a Python user can change. They begin with ``field: `` or
``field=value: ``, and may suggest ``field=value``.
"""

import re
import shlex
from collections.abc import Set

from descant.errors import without_salvage

OPTIONS = {
    # Request
    "text": "PROMPT",
    "timeline": "--then",
    "negative_text": "--negative",
    "long_prompt": "--long-prompt",
    "melody": "--melody",
    "melody_part": "--melody-part",
    "style": "--style",
    "tempo": "--tempo",
    "key": "--key",
    "chords": "--chords",
    "prompt": "--continue",
    "duration_s": "--duration",
    "stride_s": "--stride",
    "loop_bars": "--loop",
    "beats_per_bar": "--beats-per-bar",
    "adapters": "--adapter",
    "adapter": "--adapter",
    "seed": "--seed",
    # Sampling
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "hold_penalty": "--hold-penalty",
    "greedy": "--greedy",
    # Guidance
    "guidance": "--guidance",
    "guidance.scale": "--guidance",
    "text_scale": "--text-guidance",
    "melody_scale": "--melody-guidance",
    "schedule": "--guidance-at",
    # load, generate, Clip
    "model": "--model",
    "device": "--device",
    "precision": "--precision",
    "best_of": "--best-of",
    "separation": "--melody-part",
    "salvage": "--salvage",
    "format": "--format",
    "loudness": "--loudness",
    # bench
    "against": "--against",
    "untrained": "--untrained",
    # data
    "valid_share": "--valid-share",
    "segment_s": "--segment",
    "sample_rate_hz": "--sample-rate",
    "batch_size": "--batch-size",
    # train
    "num_devices": "--gpus",
    "per_node": "--gpus-per-node",
    "utilization": "--utilization",
    # finetune
    "trigger": "--trigger",
    "minutes": "--minutes",
    # listen
    "num_prompts": "--clips",
    "num_repeats": "--repeats",
    "num_anchors": "--anchors",
    "prompts": "--prompts",
    "melodies": "--melody",
    "keep_all": "--keep-all",
    # study
    "rows": "--rows",
    # evaluate
    "reference": "--reference",
    "metrics": "--metrics",
    "embedder": "--embedder",
    "labeller": "--labeller",
    "text_embedder": "--text-embedder",
    "skip_broken": "--skip-broken",
    "training": "--training",
    "num_processes": "--threads",
}
"""The option for each field and argument that a command passes to the library."""

_FIELD = rf"(?:guidance\.)?(?P<field>{'|'.join(OPTIONS)})"
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_VALUE = rf"=(?P<value>{_QUOTED}|[^\s:;,)]+)"
_AT_START = re.compile(rf"{_FIELD}(?:{_VALUE}|(?=:)|(?= of guidance))(?: of guidance)?")
_SUGGESTED = re.compile(rf"(?<!\w)(?:{_QUOTED})|(?<![\w.-])(?<!--set ){_FIELD}{_VALUE}")


def with_option_names(message: str, names: Set[str]) -> str:
    """The message with an option in place of each field, or plain words if the command has no such option.

    Fields that follow --set, and those that a command with --set has no other option for, stay as they are written.

    Args:
        message: quoted text in it stays as it is.
        names: the options of the command that failed.
    """

    def option(found: re.Match[str]) -> str:
        if found["field"] is None:
            return found[0]
        name = OPTIONS[found["field"]]
        if name not in names and "--set" in names:
            return found[0]
        return " ".join([name if name in names else found["field"].replace("_", " "), *_argument(found["value"])])

    if OPTIONS["salvage"] not in names:
        message = without_salvage(message)
    start = _AT_START.match(message)
    if start is None:
        return _SUGGESTED.sub(option, message)
    return option(start) + _SUGGESTED.sub(option, message[start.end() :])


def _argument(value: str | None) -> list[str]:
    """A value as it is written on a command line; a switch has none."""
    if value is None or value == "True":
        return []
    plain = value[1:-1] if value[0] in "'\"" and value[-1] == value[0] else value
    return [plain if plain and shlex.quote(plain) == plain else value]
