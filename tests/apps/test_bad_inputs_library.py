"""Inputs that have broken tools of this kind, through the library: each is refused by name, or plainly right."""

import math

import numpy as np
import pytest
import soundfile
import torch

import descant
from descant import AudioError, Clip, DescantError, Guidance, InvalidRequest, Request, Sampling


@pytest.fixture(scope="module")
def tiny():
    return descant.load("tiny")


NAN, INF = math.nan, math.inf
BAD_FIELDS = (
    *((Request, "text", value) for value in (3, 1.5, b"bytes", ["a", "b"], {"a": 1}, "a\0", "x" * 5_000, "\udc00")),
    *((Request, "negative_text", value) for value in (3, ["a"], "\0", "x" * 1_000_000)),
    *((Request, "duration_s", value) for value in (0, -1, NAN, INF, -INF, "10", True, None, [10.0])),
    *((Request, "seed", value) for value in (-1, 2**63, 2**64, "x", 1.5, True, NAN)),
    *((Request, "prompt", value) for value in ("in.wav", torch.zeros(1, 10), np.zeros(10))),
    *((Request, "sampling", value) for value in ({"top_k": 3}, 3, "greedy")),
    *((Request, "guidance", value) for value in (3, 3.0, "3")),
    *((Sampling, "temperature", value) for value in (0, -1, NAN, INF, 1e9, "1", True, None)),
    *((Sampling, "top_k", value) for value in (-1, 2.5, "250", True, None, NAN)),
    *((Sampling, "hold_penalty", value) for value in (-1, 101, NAN, "1", True, None)),
    *((Sampling, "top_p", value) for value in (0, 1.5, -0.1, NAN, "1", True, None)),
    *((Sampling, "greedy", value) for value in (1, "yes", None)),
    *((Guidance, "scale", value) for value in (-3, 1e6, NAN, INF, "3", True, None)),
)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("kind", "field", "value"), BAD_FIELDS, ids=lambda value: f"{value!r:.30}")
def test_a_bad_field_is_refused_when_it_is_made_and_the_message_names_it(kind, field, value):
    with pytest.raises(InvalidRequest) as caught:
        kind(**{field: value})
    message = str(caught.value)
    assert message.startswith("guidance" if kind is Guidance else field)
    assert len(message) < 300
    assert isinstance(caught.value, DescantError)


def test_a_request_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        Request().duration_s = -1.0  # type: ignore[misc]


GOOD_TEXTS = (
    *(
        None,
        "",
        " ",
        "\n",
        "x",
        "drums 🥁👩‍🎤",
        "e\u0301",
        "\a\x1b[31m\u200b",
        "<b>&amp;",
        "../../etc/passwd",
    ),
)


def test_any_text_makes_music_alone_and_in_company(tiny):
    requests = [Request(text=text, duration_s=0.1, seed=1) for text in GOOD_TEXTS]
    clips = tiny.generate(requests)
    assert [clip.samples.shape for clip in clips] == [(1, 3_200)] * len(requests)
    for index in (0, 5, 6):
        assert torch.equal(tiny.generate(requests[index]).codes, clips[index].codes)


@pytest.mark.parametrize("text", ["موسيقى", "穏やか", "спокойная музыка", "🥁🎹", "..., привет!"])
def test_a_text_without_a_word_that_the_model_knows_is_refused(tiny, text):
    """All of these once made one and the same music."""
    for fields in ({"text": text}, {"negative_text": text}, {"timeline": ((0.05, text),)}):
        with pytest.raises(InvalidRequest, match=f"^{next(iter(fields))}=.*write it in English"):
            tiny.generate(duration_s=0.1, **fields)


def test_texts_that_say_nothing_are_the_same_request(tiny):
    codes = [tiny.generate(text, duration_s=0.1, seed=1).codes for text in (None, "", " ", "\n")]
    assert all(torch.equal(codes[0], other) for other in codes)


@pytest.mark.parametrize("request_list", [[], ()])
def test_no_request_at_all_is_refused(tiny, request_list):
    with pytest.raises(InvalidRequest):
        tiny.generate(request_list)


def test_an_unknown_field_is_refused_with_those_there_are(tiny):
    with pytest.raises(InvalidRequest, match=r"duration.*text.*duration_s"):
        tiny.generate("x", duration=3.0)


@pytest.mark.parametrize("duration_s", [3_600.1, 1e9])
def test_longer_than_an_hour_is_refused(tiny, duration_s):
    with pytest.raises(InvalidRequest, match="at most 3600 seconds"):
        tiny.generate("x", duration_s=duration_s)


def test_the_shortest_request_is_one_sample(tiny):
    assert tiny.generate("x", duration_s=1e-9, seed=0).samples.shape == (1, 1)


@pytest.mark.parametrize(
    "sampling",
    [
        *(Sampling(top_k=k) for k in (0, 1, 31, 32, 33, 2_049, 10**9)),
        *(Sampling(temperature=t) for t in (1e-9, 1e6)),
        *(Sampling(top_p=p) for p in (1e-9, 0.5, 1.0)),
        Sampling(greedy=True),
    ],
    ids=repr,
)
def test_extreme_sampling_still_draws_codes_that_exist(tiny, sampling):
    clip = tiny.generate("x", duration_s=0.1, seed=0, sampling=sampling)
    assert clip.codes is not None
    assert 0 <= int(clip.codes.min()) <= int(clip.codes.max()) < 32


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_extreme_guidance_still_draws_codes_that_exist(tiny, scale):
    clip = tiny.generate("x", duration_s=0.1, seed=0, guidance=Guidance(scale=scale))
    assert clip.codes is not None
    assert int(clip.codes.max()) < 32


def test_codes_of_another_codec_are_refused_as_prompt(tiny):
    for codes in (torch.zeros(3, 2, dtype=torch.long), torch.full((4, 2), 32), torch.full((4, 2), -1)):
        with pytest.raises(InvalidRequest, match="prompt"):
            tiny.generate("x", duration_s=0.5, prompt_codes=codes)


def test_a_prompt_as_long_as_the_result_is_refused(tiny):
    prompt = Clip(torch.zeros(1, 3_200), 32_000)
    with pytest.raises(InvalidRequest, match="prompt"):
        tiny.generate("x", duration_s=0.1, prompt=prompt)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_sound_of_any_rate_and_channels_is_encoded_and_continued(tiny, sample_rate_hz, num_channels):
    clip = Clip(0.1 * torch.randn(num_channels, sample_rate_hz // 20), sample_rate_hz)
    assert tiny.codec.encode(clip).shape == (4, 3)
    assert tiny.generate("x", duration_s=0.1, prompt=clip, seed=0).samples.shape == (1, 3_200)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "MS_ADPCM"])
def test_every_kind_of_wav_is_the_same_sound(tmp_path, subtype):
    wave = 0.5 * np.sin(np.arange(8_000) / 10)
    soundfile.write(tmp_path / "a.wav", wave, 8_000, subtype=subtype)
    samples = Clip.read(tmp_path / "a.wav").samples
    assert samples.dtype == torch.float32
    assert np.abs(samples[0, :8_000].numpy() - wave).max() < 0.05


@pytest.mark.parametrize("num_samples", [1, 32, 639, 640, 641])
@pytest.mark.parametrize("value", [0.0, 1e-40, 0.5, 1e30, -7.0])
def test_short_silent_constant_and_absurdly_loud_sound_is_encoded(tiny, num_samples, value):
    codes = tiny.codec.encode(Clip(torch.full((1, num_samples), value), 32_000))
    assert codes.shape == (4, -(-num_samples // 640))
    decoded = tiny.codec.decode(codes)
    assert torch.isfinite(decoded.samples).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("samples", "rate_hz"),
    [
        (torch.zeros(0, 10), 32_000),
        (torch.zeros(1, 0), 32_000),
        (torch.full((1, 10), NAN), 32_000),
        (torch.full((1, 10), -INF), 32_000),
        (torch.zeros(1, 10), 0),
        (torch.zeros(1, 10), 1),
        (torch.zeros(1, 10), 4_000_000_000),
        (torch.zeros(1, 10, dtype=torch.int64), 32_000),
        (torch.zeros(1, 10, dtype=torch.bool), 32_000),
    ],
    ids=["no channel", "no sample", "nan", "inf", "rate 0", "rate 1", "rate 4e9", "int64", "bool"],
)
def test_samples_that_are_no_clip_are_refused(samples, rate_hz):
    with pytest.raises(InvalidRequest):
        Clip(samples, rate_hz)


def test_a_file_that_is_no_sound_is_an_audio_error_of_one_line(bad_sound):
    with pytest.raises(AudioError) as caught:
        Clip.read(bad_sound)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_a_file_cut_short_anywhere_is_sound_or_an_audio_error(tmp_path, kind):
    whole = Clip(0.1 * torch.randn(1, 2_000), 8_000).to_bytes(kind)
    for length in range(0, len(whole), max(1, len(whole) // 24)):
        path = tmp_path / f"{length}.{kind}"
        path.write_bytes(whole[:length])
        try:
            clip = Clip.read(path)
        except AudioError:
            continue
        assert torch.isfinite(clip.samples).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "info", [{}, {"text": 3}, {"prompt_codes": "x"}, {"prompt_codes": [[1], [1, 2]]}, {"seed": None, "sampling": []}]
)
def test_a_record_that_generate_did_not_write_is_refused(tiny, info):
    made = tiny.generate("x", duration_s=0.1, seed=0).info
    with pytest.raises(InvalidRequest):
        descant.request_from_info({**made, **info} if info else {})


@pytest.mark.parametrize("name", ["nosuch", "", "a\0b", "n" * 300])
def test_a_model_that_is_not_there_is_a_checkpoint_error(name):
    with pytest.raises(descant.CheckpointError):
        descant.load(name)


@pytest.mark.parametrize("settings", [{"device": "tpu"}, {"device": ""}, {"precision": "int2"}, {"precision": ""}])
def test_a_device_or_precision_that_is_not_there_is_refused_with_those_that_are(settings):
    with pytest.raises(InvalidRequest, match="auto"):
        descant.load("tiny", **settings)
