"""What a file may have opened or fetched on its word: the well-known, what is cached already, and nothing else."""

import re
from pathlib import Path

import pytest

from descant.checkpoints import audiocraft, hub, layouts, native, trust
from descant.conditioning.encoders.clap import ClapEncoder
from descant.conditioning.encoders.mert import MERTFeatures
from descant.conditioning.encoders.t5 import T5Encoder
from descant.conditioning.style import StyleConfig
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError

huggingface_hub = pytest.importorskip("huggingface_hub")

ELSEWHERE = [
    "someone/encoder",
    "someone/encoder@v2",
    "/etc",
    "../encoder",
    "./encoder",
    "encoder",
    "C:\\encoder",
    "\\\\host\\share",
    "~/encoder",
    "",
    "a\nb",
    "x" * 5_000,
]


@pytest.fixture(autouse=True)
def _asks_nobody(monkeypatch):
    real = huggingface_hub.snapshot_download

    def only_cached(*words, **settings):
        assert settings.get("local_files_only") is True, "the hub was asked"
        return real(*words, **settings)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", only_cached)


def test_well_known_encoders_are_read_by_name(cache):  # noqa: ARG001
    for name in ("t5-base", "google/flan-t5-xl", "facebook/encodec_32khz", "m-a-p/MERT-v1-95M"):
        assert trust.part_named_in("m/config.json", name) == name


@pytest.mark.parametrize("name", ELSEWHERE)
def test_another_name_is_neither_fetched_nor_opened(cache, name, tmp_path):  # noqa: ARG001
    for place in ("encoder", "someone/encoder"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(CheckpointError, match="not opened on a file's word") as caught:
        trust.part_named_in("m/config.json", name)
    message = str(caught.value)
    assert message.startswith("m/config.json: names ")
    assert "\n" not in message
    assert len(message) < 400
    assert ("hf download someone/encoder" in message) == name.startswith("someone/")


def test_what_was_fetched_on_purpose_is_read_from_the_cache(cache):
    folder = cache.put("someone/encoder", {"config.json": b"{}", "pytorch_model.bin": b"weights"})
    assert trust.part_named_in("m", "someone/encoder") == str(folder)


def test_the_user_can_trust_every_name(cache, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    assert trust.part_named_in("m", "../encoder") == "../encoder"
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "0")
    with pytest.raises(CheckpointError):
        trust.part_named_in("m", "../encoder")


def test_a_folder_here_is_not_taken_for_a_well_known_encoder(cache, tmp_path):  # noqa: ARG001
    for name in ("t5-base", "google/flan-t5-base"):
        (tmp_path / name).mkdir(parents=True)
        message = f"^m: a folder {name!r} in the current directory hides the encoder of that name; run elsewhere or"
        with pytest.raises(CheckpointError, match=message):
            trust.part_named_in("m", name)


@pytest.mark.parametrize("name", [*ELSEWHERE, "t5-base"])
def test_only_a_cached_model_is_a_model_that_a_file_names(cache, name, tmp_path):  # noqa: ARG001
    (tmp_path / "someone" / "encoder").mkdir(parents=True)
    assert trust.model_named_in_file(name) is None


def test_a_cached_model_may_be_named_by_a_file(cache):
    folder = cache.put("someone/song", {"config.json": b"{}", "model.safetensors": b"w"})
    cache.put("someone/half", {"config.json": b"{}"})
    assert trust.model_named_in_file("someone/song") == folder
    assert trust.model_named_in_file("someone/half") is None


# Through the folders that name something.


@pytest.fixture
def no_transformers(monkeypatch):
    """Whatever would read a network fails the test."""
    for encoder in (T5Encoder, MERTFeatures, ClapEncoder):
        monkeypatch.setattr(encoder, "load", lambda *_, **__: pytest.fail("it was read"))


@pytest.mark.usefixtures("cache", "no_transformers")
@pytest.mark.parametrize("name", ["someone/encoder", "../encoder"])
def test_a_native_model_cannot_have_its_encoders_fetched(make_model, tmp_path, name):
    native.save_model(make_model(text=T5Text(name=name, dim=12)), tmp_path / "m")
    with pytest.raises(CheckpointError, match="not opened on a file's word"):
        native.load_model(tmp_path / "m")
    assert "not opened" in layouts.check_model(tmp_path / "m").problems[0]


@pytest.mark.usefixtures("cache", "no_transformers")
def test_a_check_fetches_not_even_what_is_well_known(make_model, tmp_path):
    native.save_model(make_model(text=T5Text(name="t5-base", dim=12)), tmp_path / "m")
    assert layouts.check_model(tmp_path / "m").problems == ()


@pytest.mark.usefixtures("cache", "no_transformers")
def test_a_native_model_cannot_have_its_listener_fetched(make_model, tmp_path, monkeypatch, word_hashes):
    monkeypatch.setattr(native, "load_text_encoder", lambda *_: word_hashes(12))
    model = make_model(style=StyleConfig(features="someone/listener", feature_dim=16, width=8, num_heads=2))
    native.save_model(model, tmp_path / "m")
    with pytest.raises(CheckpointError, match="names 'someone/listener'"):
        native.load_model(tmp_path / "m")


@pytest.mark.usefixtures("cache", "no_transformers")
def test_a_model_of_audiocraft_cannot_have_its_codec_fetched(make_model, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("yaml")
    audiocraft.save_model(make_model(text=T5Text(name="t5-base", dim=12)), tmp_path / "m" / "a")
    file = tmp_path / "m" / "a" / audiocraft.CODEC
    torch.save({"pretrained": "someone/codec", "exported": True, "version": "1.3.0"}, file)
    with pytest.raises(CheckpointError, match="not opened on a file's word; fetch it first"):
        audiocraft.read_model_config(tmp_path / "m" / "a")


def test_the_note_and_the_list_agree():
    note = Path(__file__).parents[2] / "docs" / "decisions" / "2026-11-25-trust.md"
    text = note.read_text(encoding="utf-8")
    assert trust.TRUST_VARIABLE in text
    listed = text.partition("Encoders that are fetched by name:")[2].partition("Without them")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == trust.WELL_KNOWN
    assert hub.is_id("google/flan-t5-base")
