"""Texts that a model cannot read completely: it reports them, and never gives the same music for different texts."""

import json
import logging
import time

import pytest
import torch

import descant
from descant import Guidance, InvalidRequest, MusicGen, Request, request_from_info
from descant.conditioning.base import TextEncoder
from descant.conditioning.clap import ClapConfig
from descant.conditioning.text import SmallText
from descant.errors import Cancelled
from descant.generation.prepared import Preparer
from descant.generation.resolve import Resolver
from descant.generation.state import GenerationState
from descant.generation.texts import TextReader, words_of

SHORT = {"duration_s": 0.1, "seed": 1}
SONG = "warm piano with soft strings, " * 60


@pytest.fixture(scope="module")
def tiny() -> MusicGen:
    return descant.load("tiny", device="cpu")


def notes(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("descant")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("warm piano", []),
        ("Ещё, warm ПИАНО!", ["Ещё", "ПИАНО"]),
        ("naïve café", []),
        ("drums🥁 loud 🎹", ["drums🥁", "🎹"]),
        ("日本 music; 日本", ["日本"]),
        ("... warm - ?!", []),
        ("it's lo-fi & r'n'b", []),
        ("\u200b \x07 piano", []),
    ],
)
def test_unknown_words_are_named(tiny, text, words):
    assert TextReader(tiny.model).unknown_words(Request(text=text)) == words


def test_words_stand_between_spaces_without_the_punctuation_around_them():
    assert words_of("«Жди, (rock-'n'-roll)!» \u200b ... ♪") == ["Жди", "rock-'n'-roll", "♪"]


def test_words_that_are_not_known_are_logged_and_kept_in_the_info(tiny, caplog):
    request = Request(text="warm пиано", negative_text="шум noise", timeline=((0.05, "loud 🥁"),), **SHORT)
    clip = tiny.generate([request, request])[0]
    assert clip.info["unknown_words"] == ["пиано", "🥁", "шум"]
    assert notes(caplog) == ["this model's text encoder reads English and does not know 'пиано', '🥁', 'шум'"]
    assert torch.equal(tiny.generate(request_from_info(clip.info)).codes, clip.codes)
    caplog.clear()
    assert tiny.generate("warm piano", **SHORT).info["unknown_words"] == []
    assert not notes(caplog)


def test_of_many_unknown_words_some_are_named(tiny, caplog):
    tiny.generate("warm " + " ".join(f"жди{number}" for number in range(100)), **SHORT)
    assert "'жди7' and 92 more words" in notes(caplog)[0]
    assert len(notes(caplog)[0]) < 300


def test_streams_and_their_changes_log_unknown_words_too(tiny, caplog):
    stream = tiny.stream("warm пиано", duration_s=0.4, seed=1)
    stream.change("loud 🥁")
    assert len(notes(caplog)) == 2
    with pytest.raises(InvalidRequest, match="none of these words"):
        stream.change("громко")


def test_a_model_that_normalises_texts_knows_fillers_and_refuses_a_text_of_fillers_only(make_model):
    pytest.importorskip("simplemma", reason="the extra normalize")
    pytest.importorskip("lunr", reason="the extra normalize")
    reader = TextReader(make_model(text=SmallText(dim=12, is_normalized=True)))
    assert reader.unknown_words(Request(text="the warm 🎹")) == ["🎹"]
    with pytest.raises(InvalidRequest, match="leaves out such words"):
        reader.read(Request(text="with the and of it"))
    with pytest.raises(InvalidRequest, match="none of these words"):
        reader.read(Request(text="🎹"))


def test_an_encoder_of_the_hub_reports_unknown_words(transformers_model):
    from descant.conditioning.encoders.t5 import T5Encoder

    folder = transformers_model("odd").folder
    tokens = descant.load(folder, device="cpu").model.text.encoder
    assert isinstance(tokens, T5Encoder)
    assert tokens.tokens("warm пиано") == ["warm", None, ""]
    assert tokens.max_tokens == 512


@pytest.mark.parametrize("field", ["text", "negative_text", "timeline"])
def test_a_text_that_is_too_long_is_refused_before_the_first_step_and_the_error_names_the_way_out(tiny, field):
    value = ((0.05, SONG),) if field == "timeline" else SONG
    steps = []
    with pytest.raises(InvalidRequest, match=rf"^{field}: \d+ tokens.*up to 256.*long_prompt='cut'"):
        tiny.generate(["x", Request(**{field: value, **SHORT})], progress=lambda *_: steps.append(1), **SHORT)
    assert not steps


def test_a_cut_text_ends_with_a_word_and_gives_the_music_of_its_beginning(tiny, caplog):
    cut = tiny.generate(SONG, long_prompt="cut", **SHORT)
    read = cut.info["text"]
    assert SONG.startswith(read)
    assert SONG[len(read)].isspace()
    encoder = tiny.model.text.encoder
    longer = SONG[: SONG.index(" ", len(read) + 1)]
    assert len(encoder.tokens(read)) <= 256 < len(encoder.tokens(longer))
    assert notes(caplog) == [
        f"text: of {len(SONG)} characters this model reads {len(read)}, up to {' '.join(read.split()[-4:])!r}"
    ]
    assert torch.equal(tiny.generate(read, **SHORT).codes, cut.codes)
    assert torch.equal(tiny.generate(request_from_info(json.loads(json.dumps(cut.info)))).codes, cut.codes)


def test_a_text_that_fits_is_not_cut(tiny, caplog):
    assert tiny.generate("warm piano. ", long_prompt="cut", **SHORT).info["text"] == "warm piano. "
    assert not notes(caplog)


class Letters(TextEncoder):
    """A token for each letter, up to five."""

    dim, device, max_tokens = 12, torch.device("cpu"), 5

    def to(self, device):
        raise AssertionError(f"it is not moved to {device}")

    def tokens(self, text):
        return [*text]

    def states(self, text):
        return torch.ones(len(text), 12)


def test_a_word_that_is_too_long_is_cut_within(make_model):
    model = make_model()
    model.text.encoder = Letters()
    texts = {"abcdefgh": "abcde", "ab cdefgh": "ab", "ab cd ef": "ab cd", " abcdefgh": "abcde", "abcde": "abcde"}
    texts |= {" " * 9 + "ab cdefgh": "ab", "\n" * 5_000 + "abcde": "abcde", " abc": " abc"}
    for text, kept in texts.items():
        assert TextReader(model).read(Request(text=text, long_prompt="cut")).text == kept


def test_a_cut_text_is_a_valid_prompt(make_model):
    """An encoder without a limit reads all of it, and a file's tags must hold it."""
    request = TextReader(make_model()).read(Request(text="warm piano " * 1_000, long_prompt="cut"))
    assert Request(text=request.text).text == request.text
    assert len(request.text) > 4_000


def test_a_text_too_long_for_the_clap_encoder_is_refused_or_cut(make_model, clap_config: ClapConfig):
    from descant.conditioning.encoders.clap import ClapEncoder

    model = make_model(clap=clap_config)
    model.clap.encoder = ClapEncoder.load(clap_config)
    most = model.clap.encoder.max_tokens
    with pytest.raises(InvalidRequest, match=f"up to {most}"):
        TextReader(model).read(Request(text="piano " * 40))
    read = TextReader(model).read(Request(text="piano " * 40, long_prompt="cut"))
    assert model.clap.encoder.num_tokens(read.text) == most


def timeline(count: int) -> Request:
    texts = tuple((0.02 * number, f"warm piano {number}") for number in range(1, count))
    return Request(text="warm piano", timeline=texts, duration_s=0.02 * count, seed=1, guidance=Guidance(scale=1.0))


def test_a_long_timeline_is_read_when_the_music_gets_there(tiny):
    """Every text was once read before the first step: 16 s for 999, in which nothing could be seen or stopped."""
    steps, began = [], time.monotonic()
    with pytest.raises(Cancelled):
        tiny.generate(timeline(999), progress=lambda *_: steps.append(time.monotonic()), cancel=lambda: len(steps) > 1)
    assert steps[0] - began < 5


def test_only_the_current_section_of_a_long_timeline_is_kept(make_model, monkeypatch):
    read = []
    model = make_model()
    states = model.text.encoder.states
    monkeypatch.setattr(model.text.encoder, "states", lambda text: read.append(text) or states(text))
    state = GenerationState(model, Resolver(model).resolve(timeline(40)), Preparer(model))
    assert read == ["warm piano"]
    assert len(state.windows) == 40
    for window in state.windows[:3]:
        state.job(window)
    assert read == ["warm piano", "warm piano 1", "warm piano 2"]
    assert len(state._prepared) == 1


def test_preparing_many_requests_can_be_stopped(tiny, monkeypatch):
    asked, prepared = [], []
    resolve = Resolver.resolve
    monkeypatch.setattr(Resolver, "resolve", lambda self, one: prepared.append(one) or resolve(self, one))

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Cancelled, match="prepared"):
        tiny.generate([Request(text="piano", **SHORT)] * 5, cancel=cancel)
    assert len(prepared) == 2


def test_messages_about_texts_are_warnings_of_the_packages_logger(tiny, caplog):
    with caplog.at_level(logging.WARNING, logger="descant"):
        tiny.generate("warm 🎹", **SHORT)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
