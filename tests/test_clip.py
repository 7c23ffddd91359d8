"""A clip among the objects of scientific Python: what it is made of, and what one does with it."""

import base64
import copy
import io
import pickle
import re
import sys
import types

import numpy as np
import pytest
import soundfile
import torch

from descant.audio import Clip
from descant.audio.player import MAX_PLAYER_S
from descant.errors import InvalidRequest

RATE_HZ = 8_000
WAVE = np.linspace(-0.5, 0.5, 12).reshape(2, 6)


class Column:
    """What NumPy can make an array of, as a column of pandas is."""

    def __array__(self, dtype=None, copy=None):
        return np.array(WAVE[0], dtype=dtype)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "samples",
    [
        WAVE,
        WAVE.astype(np.float32),
        WAVE.astype(">f4"),
        WAVE.astype(np.longdouble),
        np.asfortranarray(WAVE),
        WAVE[:, ::-1][:, ::-1],
        read_only(WAVE),
        WAVE.tolist(),
        tuple(map(tuple, WAVE.tolist())),
        torch.from_numpy(WAVE),
        torch.from_numpy(WAVE).T.contiguous().T,
        torch.from_numpy(WAVE).requires_grad_(),
        Clip(WAVE, RATE_HZ).samples,
    ],
    ids=lambda samples: f"{type(samples).__name__} {getattr(samples, 'dtype', '')}",
)
def test_samples_of_every_kind_make_the_same_clip(samples):
    clip = Clip(samples, RATE_HZ)
    assert clip.samples.dtype == torch.float32
    assert not clip.samples.requires_grad
    torch.testing.assert_close(clip.samples, torch.from_numpy(WAVE).float(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_halves_become_singles(kind):
    assert torch.equal(Clip(torch.full((1, 4), 0.25, dtype=kind), RATE_HZ).samples, torch.full((1, 4), 0.25))


@pytest.mark.parametrize("samples", [WAVE[0], WAVE[0].tolist(), torch.from_numpy(WAVE[0]), Column()], ids=type)
def test_one_channel_alone_is_mono(samples):
    assert Clip(samples, RATE_HZ).samples.shape == (1, 6)


def test_an_array_may_change_afterwards():
    array = np.zeros((1, 5), dtype=np.float32)
    clip = Clip(array, RATE_HZ)
    array[:] = 1
    assert not clip.samples.any()


@pytest.mark.parametrize(("kind", "subtype"), [("int16", "PCM_16"), ("int32", "PCM_32")])
def test_pcm_is_read_as_soundfile_reads_it(kind, subtype):
    info = np.iinfo(kind)
    pcm = np.array([[info.min, info.min + 1, -1, 0, 1, info.max // 3, info.max]], dtype=kind)
    file = io.BytesIO()
    soundfile.write(file, pcm.T, RATE_HZ, format="WAV", subtype=subtype)
    file.seek(0)
    expected, _ = soundfile.read(file, dtype="float32", always_2d=True)
    for given in (pcm, pcm.astype(pcm.dtype.newbyteorder(">")), torch.from_numpy(pcm)):
        assert Clip(given, RATE_HZ).numpy().tolist() == expected.T.tolist()


def test_unsigned_pcm_has_its_silence_in_the_middle():
    pcm = np.array([0, 64, 128, 255], dtype=np.uint8)
    assert Clip(pcm, RATE_HZ).samples.tolist() == [[-1.0, -0.5, 0.0, 127 / 128]]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((48_000, 2)), r"pass samples\.T"),
        (torch.zeros(48_000, 2), r"pass samples\.T"),
        (np.zeros((1, 4), dtype=np.int64), "int64, whose full scale is not known"),
        ([0, 1, 0], "int64, whose full scale"),
        (np.zeros((1, 4), dtype=bool), "bool, whose full scale"),
        (np.zeros((1, 4), dtype=complex), "complex128"),
        (np.zeros((1, 4), dtype=object), "of object"),
        ([[0.0], [0.0, 1.0]], "rows of different lengths"),
        (np.ma.masked_equal(np.array([[0.0, 1.0]]), 1.0), "masked"),
        ("in.wav", r"Clip\.read"),
        (None, r"Clip\.read"),
        (0.5, "a clip needs"),
        ([], "a clip needs"),
        (np.zeros((1, 1, 4)), "a clip needs"),
        (torch.zeros(1, 4, device="meta"), "no values"),
        (np.array([[1e300]]), "NaN or infinite"),
        ([float("nan")], "NaN or infinite"),
        (Clip(WAVE, RATE_HZ), r"clip\.resample"),
        ({"a": 1}, "samples are a dict"),
    ],
    ids=lambda value: f"{value!s:.30}",
)
def test_what_is_no_sound_is_refused_with_what_to_do(samples, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        Clip(samples, RATE_HZ)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_many_channels_are_allowed_where_they_are_plain():
    assert len(Clip(np.zeros((64, 100)), RATE_HZ).samples) == 64
    assert len(Clip(np.zeros((4, 1)), RATE_HZ).samples) == 4


@pytest.mark.parametrize("rate", [16_000, 16_000.0, np.int16(16_000), np.int64(16_000), np.float32(16_000)], ids=repr)
def test_a_rate_of_every_kind_of_number_is_a_whole_number(rate):
    assert repr(Clip(WAVE, rate).sample_rate_hz) == "16000"
    assert Clip(WAVE, RATE_HZ).resample(rate).sample_rate_hz == 16_000


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "rate", [16_000.5, "16000", None, True, float("nan"), float("inf"), 0, -8_000, 10**7], ids=repr
)
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(InvalidRequest, match="sample_rate_hz="):
        Clip(WAVE, rate)


def test_codes_may_be_an_array():
    codes = Clip(WAVE, RATE_HZ, codes=np.ones((4, 2), dtype=np.uint16)).codes
    assert torch.equal(codes, torch.ones(4, 2, dtype=torch.int64))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("codes", [np.ones(4, dtype=int), np.ones((4, 2)), [[1]], torch.ones(4, 2)], ids=repr)
def test_codes_that_are_none_are_refused(codes):
    with pytest.raises(InvalidRequest, match="codes="):
        Clip(WAVE, RATE_HZ, codes=codes)


RAMP = Clip(np.arange(16_000) / 16_000, RATE_HZ, codes=np.ones((4, 100), dtype=int), info={"text": "ramp"})


@pytest.mark.parametrize(
    ("seconds", "start", "stop"),
    [
        (slice(0.5, 1.25), 4_000, 10_000),
        (slice(None, 0.5), 0, 4_000),
        (slice(1, None), 8_000, 16_000),
        (slice(-0.5, None), 12_000, 16_000),
        (slice(None, -0.5), 0, 12_000),
        (slice(1.5, 99.0), 12_000, 16_000),
        (slice(-99.0, 0.5), 0, 4_000),
        (slice(np.float32(0.5), np.int64(1)), 4_000, 8_000),
        (slice(None), 0, 16_000),
    ],
    ids=str,
)
def test_a_slice_is_in_seconds(seconds, start, stop):
    part = RAMP[seconds]
    assert torch.equal(part.samples, RAMP.samples[:, start:stop])
    assert (part.sample_rate_hz, part.codes, part.info) == (RATE_HZ, None, {})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "seconds",
    [
        *(1, 0.5, (0, slice(1)), slice(0, 1, 1), slice(1, 1), slice(1.5, 1), slice(2.0, 3.0)),
        *(slice("a"), slice(True), slice(float("nan"), 1), slice(0, float("inf"))),
    ],
    ids=str,
)
def test_what_is_no_part_of_a_clip_is_refused(seconds):
    with pytest.raises(InvalidRequest, match=r"^clip\["):
        RAMP[seconds]


def test_parts_put_together_are_the_whole():
    whole = RAMP[:0.7] + RAMP[0.7:1.1] + RAMP[1.1:]
    assert torch.equal(whole.samples, RAMP.samples)
    assert (whole.codes, whole.info) == (None, {})


def test_clips_of_other_rates_or_channels_do_not_follow_each_other():
    with pytest.raises(InvalidRequest, match=r"8000 and 16000 Hz.*\.resample\(8000\)"):
        RAMP + RAMP.resample(16_000)
    with pytest.raises(InvalidRequest, match=r"1 and 2 channels.*\.to_channels\(1\)"):
        RAMP + RAMP.to_channels(2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("other", [0, 1.5, None, "x", np.zeros(5), np.float32(1)], ids=repr)
def test_a_clip_and_something_else_are_no_clip(other):
    for add in (lambda: RAMP + other, lambda: other + RAMP):
        with pytest.raises(TypeError):
            add()
    with pytest.raises(TypeError):
        iter(RAMP)


@pytest.mark.parametrize("gain", [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5)], ids=repr)
def test_a_gain_makes_the_same_sound_louder_or_softer(gain):
    softer = RAMP * gain
    assert torch.equal(softer.samples, 0.5 * RAMP.samples)
    assert softer.info == RAMP.info
    if not isinstance(gain, torch.Tensor):
        assert torch.equal((gain * RAMP).samples, softer.samples)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("gain", "error"), [("2", TypeError), (None, TypeError), (RAMP, TypeError)])
def test_what_is_no_gain_is_a_type_error(gain, error):
    with pytest.raises(error):
        RAMP * gain


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("gain", [float("nan"), float("inf"), True], ids=repr)
def test_a_gain_that_is_no_number_is_refused(gain):
    with pytest.raises(InvalidRequest, match="finite number"):
        RAMP * gain


def test_a_clip_is_as_long_as_its_channels_and_true():
    assert len(Clip(WAVE, RATE_HZ)) == 6
    assert RAMP
    assert RAMP == RAMP
    assert Clip(WAVE, RATE_HZ) != Clip(WAVE, RATE_HZ)
    assert len({RAMP, RAMP}) == 1


def test_numpy_gets_the_samples_with_its_own_rules_for_copies():
    clip = Clip(WAVE, RATE_HZ)
    shared = np.asarray(clip)
    assert np.shares_memory(shared, clip.samples.numpy())
    assert not shared.flags.writeable
    assert np.array_equal(clip.numpy(), shared)
    for own in (np.array(clip), clip.numpy(), np.asarray(clip, dtype=np.float64)):
        assert not np.shares_memory(own, clip.samples.numpy())
        own[:] = 0
    assert np.asarray(clip, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        clip.__array__(np.float64, copy=False)
    assert np.shares_memory(clip.__array__(copy=False), shared)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda clip: pickle.loads(pickle.dumps(clip))])
def test_a_clip_can_be_copied_and_pickled(copied):
    again = copied(RAMP)
    assert torch.equal(again.samples, RAMP.samples)
    assert torch.equal(again.codes, RAMP.codes)
    assert (again.sample_rate_hz, again.info) == (RATE_HZ, RAMP.info)


def test_a_clip_is_shown_in_a_few_words():
    assert repr(RAMP) == "Clip('ramp', 2.000 s, 8000 Hz, mono, codes [4, 100])"
    assert repr(Clip(WAVE, RATE_HZ)) == "Clip(0.001 s, 8000 Hz, stereo)"


def sound_in(page: str) -> tuple[np.ndarray, int]:
    data = re.search(r'src="data:audio/(?:wav|mpeg);base64,([^"]*)"', page)[1]
    return soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)


def test_a_player_holds_the_sound_itself():
    sound, rate_hz = sound_in(RAMP._repr_html_())
    assert rate_hz == RATE_HZ
    np.testing.assert_allclose(sound[:, 0], RAMP.numpy()[0], atol=2**-15)
    assert "&lt;b&gt;" in Clip(WAVE, RATE_HZ, info={"text": "<b>"})._repr_html_()


@pytest.mark.parametrize(("channels", "rate_hz"), [(6, 8_000), (1, 1_000), (2, 192_000)])
def test_sound_that_browsers_do_not_play_is_brought_to_what_they_do(channels, rate_hz):
    sound, played_hz = sound_in(Clip(np.zeros((channels, 4_000)), rate_hz)._repr_html_())
    assert sound.shape[1] == min(channels, 2)
    assert 8_000 <= played_hz <= 96_000
    assert abs(len(sound) / played_hz - 4_000 / rate_hz) < 0.001


def test_of_a_long_clip_the_beginning_is_played_and_the_player_says_so():
    noise = 0.1 * np.random.default_rng(0).standard_normal(130 * RATE_HZ)
    page = Clip(noise, RATE_HZ)._repr_html_()
    assert len(page) < 4_000_000
    assert f"the first {MAX_PLAYER_S} s" in page
    sound, rate_hz = sound_in(page)
    assert abs(len(sound) / rate_hz - MAX_PLAYER_S) < 0.1


def test_outside_a_notebook_there_is_nothing_to_play_in():
    with pytest.raises(InvalidRequest, match=r"no notebook.*clip\.save"):
        RAMP.play()


def test_in_a_notebook_a_clip_plays(monkeypatch):
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    display = types.SimpleNamespace(display=shown.append, HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, display=display))
    RAMP.play()
    assert shown == [RAMP._repr_html_()]
    shell.kernel = None
    with pytest.raises(InvalidRequest, match="no notebook"):
        RAMP.play()
