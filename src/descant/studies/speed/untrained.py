"""The shape of any preset with random weights and no download: speed does not depend on the weights."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from descant.api import MusicGen
from descant.checkpoints.native import load_text_encoder
from descant.checkpoints.untrained import untrained_model
from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.frozen import import_transformers
from descant.conditioning.encoders.t5 import T5Encoder
from descant.conditioning.text import T5Text
from descant.devices import select_device, select_precision
from descant.errors import InvalidRequest
from descant.model import MusicGenConfig
from descant.presets import PRESETS
from descant.studies.speed.decoding import PROMPT

T5_BASE = {"vocab_size": 32_128, "d_model": 768, "d_kv": 64, "d_ff": 3_072, "num_layers": 12, "num_heads": 12}
"""The shape of t5-base (arXiv 1910.10683, section 3.1)."""


def untrained(preset: str, device: str = "auto", precision: str = "auto") -> MusicGen:
    """A model of a preset's shape with random weights, which are the same every time.

    A T5 is random too, with a tokenizer that knows the words of the measurement and no others.

    Raises:
        InvalidRequest: there is no such preset, device or precision.
        MissingExtra: the model has a T5, and transformers is not installed.
    """
    if preset not in PRESETS:
        raise InvalidRequest(f"untrained={preset!r:.60}: allowed are {', '.join(PRESETS)}")
    chosen, config = select_device(device), PRESETS[preset]()
    selected = select_precision(precision, chosen)
    # All of it, as a copy of a text encoder draws random numbers too.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = untrained_model(config, _text_encoder(config)).to_precision(selected.dtype).to_device(chosen)
    return MusicGen(model.eval().requires_grad_(False), f"{preset}, random weights", selected)


def _text_encoder(config: MusicGenConfig) -> TextEncoder:
    return _random_t5() if isinstance(config.text, T5Text) else load_text_encoder(config)


def _random_t5() -> T5Encoder:
    transformers = import_transformers("a model with a T5")
    settings: dict[str, Any] = {**T5_BASE, "decoder_start_token_id": 0}
    network = transformers.T5EncoderModel(transformers.T5Config(**settings))
    with TemporaryDirectory(prefix="descant-bench-") as folder:
        _write_tokenizer(Path(folder))
        return T5Encoder.from_weights(settings, network.state_dict(), Path(folder))


def _write_tokenizer(folder: Path) -> None:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = [*special.values(), *sorted(set(PROMPT.split()))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
