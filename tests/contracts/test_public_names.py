"""What users may import, as a list to change on purpose only."""

import dataclasses
import inspect

import descant
from descant import Clip, Guidance, MusicGen, Request, Sampling

NAMES = [
    "AudioError",
    "Cancelled",
    "CheckpointError",
    "Clip",
    "ConfigError",
    "DataError",
    "DescantError",
    "Guidance",
    "InvalidRequest",
    "MissingExtra",
    "MusicGen",
    "Request",
    "Sampling",
    "TrainingDiverged",
    "__version__",
    "load",
    "request_from_info",
]


def fields_of(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def test_the_packages_names_are_these():
    assert descant.__all__ == NAMES
    assert all(hasattr(descant, name) for name in NAMES)


def test_the_fields_of_a_request_are_these():
    assert fields_of(Request) == [
        "text",
        "timeline",
        "negative_text",
        "long_prompt",
        "melody",
        "melody_chroma",
        "melody_part",
        "style",
        "style_codes",
        "tempo",
        "key",
        "chords",
        "prompt",
        "prompt_codes",
        "duration_s",
        "stride_s",
        "loop_bars",
        "beats_per_bar",
        "adapters",
        "seed",
        "sampling",
        "guidance",
    ]
    assert fields_of(Sampling) == ["temperature", "top_k", "top_p", "greedy", "hold_penalty"]
    assert fields_of(Guidance) == ["scale", "text_scale", "melody_scale", "schedule"]
    assert fields_of(Clip) == ["samples", "sample_rate_hz", "codes", "info"]


def test_what_a_loaded_model_offers_is_this():
    public = {name for name, _ in inspect.getmembers(MusicGen) if not name.startswith("_")}
    assert public == {
        "config",
        "default_guidance",
        "default_sampling",
        "device",
        "generate",
        "load_adapter",
        "max_duration_s",
        "num_channels",
        "precision",
        "record_of",
        "sample_rate_hz",
        "stream",
    }


def test_every_error_is_a_descant_error_and_the_callers_mistakes_are_value_errors():
    errors = [getattr(descant, name) for name in NAMES if inspect.isclass(getattr(descant, name))]
    errors = [error for error in errors if issubclass(error, Exception)]
    assert len(errors) == 9
    assert all(issubclass(error, descant.DescantError) for error in errors)
    assert {error.__name__ for error in errors if issubclass(error, ValueError)} == {
        "AudioError",
        "ConfigError",
        "InvalidRequest",
    }
