import sys
from dataclasses import replace

import pytest
import torch

from descant.checkpoints import native
from descant.conditioning.normalize import normalize_text
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.text import SmallText, T5Text
from descant.config import from_dict, to_dict
from descant.errors import InvalidRequest, MissingExtra
from descant.generation.engine import Engine
from descant.generation.request import Request
from descant.model import MusicGenConfig

pytest.importorskip("simplemma", reason="the extra normalize")
pytest.importorskip("lunr", reason="the extra normalize")


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("Guitars are strumming", "guitar strum"),
        ("a strummed guitar", "strum guitar"),
        ("Driving techno with heavy drums, 120 bpm", "drive techno heavy drum 120 bpm"),
        ("no drums, and not too loud; without vocals", "no drum not loud without vocal"),
        ("piano rather than guitars", "piano rather than guitar"),
        ("it doesn't sound sad, don\u2019t sing", "doesn't sound sad don't sing"),
        ("a waltz in A minor, 3/4 at 92.5 BPM", "waltz a minor 3/4 92.5 bpm"),
        ("F# minor, lo-fi r&b, B♭ blues", "f# minor lo-fi r&b b♭ blues"),
        ("female singing", "female sing"),
        ("bands playing loudly", "band play loudly"),
        ("80s synth-pop", "80s synth-pop"),
        ("café del mar", "café del mar"),
        ("静かな ピアノ", "静かな ピアノ"),
    ],
)
def test_examples(text, normalized):
    assert normalize_text(text) == normalized
    assert normalize_text(normalized) == normalized


@pytest.mark.parametrize("text", ["", " ", "with the and of it", "... !?"])
def test_where_no_word_is_left_there_is_no_text(text):
    assert normalize_text(text) is None


@pytest.fixture(scope="module")
def normalized_model(make_model):
    return make_model(text=SmallText(dim=12, is_normalized=True), tempo_key=TempoKeyConfig())


def test_two_wordings_of_one_prompt_give_the_same_codes_only_with_the_option(normalized_model, make_model):
    def codes(model):
        requests = [Request(text=text, duration_s=0.2, seed=1) for text in ("the warm pianos", "Warm piano!")]
        return [made.codes for made in Engine(model).generate(requests)]

    assert torch.equal(*codes(normalized_model))
    assert not torch.equal(*codes(make_model()))


def test_a_text_of_nothing_but_stop_words_is_no_text(normalized_model):
    embedding = normalized_model.text.prepare([{"text": "with the"}, {"text": "no drums"}, {}])
    assert embedding.mask.any(dim=1).tolist() == [False, True, False]


def test_text_with_invalid_characters_is_refused_and_not_repaired(normalized_model):
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        normalized_model.prepare([{"text": "warm\0 piano"}])


def test_tempo_and_key_are_parsed_from_the_text_as_it_was_written(normalized_model):
    """The tonic is a capital letter, which a normalised text has lost."""
    texts = ["a piece in A minor", "a piece in a minor mood"]
    prepared = normalized_model.prepare([{"text": text} for text in texts])
    inputs = normalized_model.inputs(prepared, normalized_model.span(4))
    assert not torch.equal(inputs.sum[0], inputs.sum[1])


@pytest.mark.parametrize("text", [SmallText(dim=12, is_normalized=True), T5Text(is_normalized=True)], ids=repr)
def test_the_option_is_stored_and_a_config_without_it_has_texts_as_written(normalized_model, text):
    config = replace(normalized_model.config, text=text)
    plain = to_dict(config)
    assert from_dict(MusicGenConfig, plain) == config
    del plain["text"]["is_normalized"]
    assert not from_dict(MusicGenConfig, plain).text.is_normalized
    assert not native.read_model_config(native.starter_folder()).text.is_normalized


@pytest.mark.parametrize("module", ["simplemma", "lunr.stop_word_filter"])
def test_without_the_dictionaries_the_line_that_installs_them_is_named(monkeypatch, normalized_model, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r'pip install "descant\[normalize\]"'):
        normalized_model.prepare([{"text": "warm piano"}])
