import pytest
import torch
from torch.overrides import TorchFunctionMode

from descant.conditioning.base import FrameSpan
from descant.conditioning.tempo_key import TempoKeyConditioner, TempoKeyConfig
from descant.errors import ConfigError
from descant.tempo_key import TempoKey, parse_key, parse_metre, parse_tempo_key

A_MAJOR, F_SHARP_MINOR, B_FLAT_MAJOR = 9, 12 + 6, 10


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("jazz, 120 bpm", TempoKey(bpm=120.0)),
        ("120BPM techno", TempoKey(bpm=120.0)),
        ("a waltz at 95.5 beats per minute", TempoKey(bpm=95.5)),
        ("bpm: 114.001. key: A major", TempoKey(bpm=114.001, key=A_MAJOR, is_minor=False)),
        ("with a tempo of 96, in F# minor", TempoKey(bpm=96.0, key=F_SHARP_MINOR, is_minor=True)),
        ("B flat major, 70-bpm", TempoKey(bpm=70.0, key=B_FLAT_MAJOR, is_minor=False)),
        ("B♭ maj", TempoKey(key=B_FLAT_MAJOR, is_minor=False)),
        ("a sad tune in a minor key", TempoKey(is_minor=True)),
        ("a major hit", TempoKey(is_minor=False)),
        ("90 bpm, then 120 bpm", TempoKey(bpm=90.0)),
        ("1200 bpm", TempoKey()),
        ("12 bpm", TempoKey()),
        ("tempo: slow, 4/4, the 80s", TempoKey()),
        ("a minority report", TempoKey()),
        ("up-tempo 12 bar blues, 120 bpm", TempoKey(bpm=120.0)),
        ("mid tempo 90 second clip", TempoKey()),
        ("1,120 bpm", TempoKey()),
        ("0.120 bpm", TempoKey()),
        ("tempo: 90.5bpm", TempoKey(bpm=90.5)),
        ("C#minor", TempoKey(key=13, is_minor=True)),
        ("in C MINOR", TempoKey(key=12, is_minor=True)),
        ("B Flat Major", TempoKey(key=B_FLAT_MAJOR, is_minor=False)),
        ("Ab major", TempoKey(key=8, is_minor=False)),
        ("in A minor", TempoKey(key=21, is_minor=True)),
        ("soft piano, A minor, slow", TempoKey(key=21, is_minor=True)),
        ("Soft piano, A minor", TempoKey(key=21, is_minor=True)),
        ("A major hit", TempoKey(is_minor=False)),
        ("A minor-key ballad, 90 bpm", TempoKey(bpm=90.0, is_minor=True)),
        ("R&B minor key groove", TempoKey(is_minor=True)),
        ("90s R&B major key", TempoKey(is_minor=False)),
        ("piano in f# minor at 90 bpm", TempoKey(bpm=90.0, key=F_SHARP_MINOR, is_minor=True)),
        ("in a minor at 90 bpm", TempoKey(bpm=90.0, key=21, is_minor=True)),
        ("a slow piece in a minor", TempoKey(key=21, is_minor=True)),
        ("a minor, slow", TempoKey(key=21, is_minor=True)),
        ("a song in a minor mood", TempoKey(is_minor=True)),
        ("a minor hit", TempoKey(is_minor=True)),
        ("in bb major", TempoKey(key=B_FLAT_MAJOR, is_minor=False)),
        ("e minor techno", TempoKey(key=16, is_minor=True)),
        ("In Am", TempoKey(key=21, is_minor=True)),
        ("lo-fi piano, C#m", TempoKey(key=13, is_minor=True)),
        ("ballad in em with strings", TempoKey(key=16, is_minor=True)),
        ("Bbm, 70 bpm", TempoKey(bpm=70.0, key=22, is_minor=True)),
        ("Am I blue", TempoKey()),
        ("I am the king", TempoKey()),
        ("Dm G C", TempoKey()),
        ("jazz over F#m7", TempoKey()),
        ("", TempoKey()),
        (None, TempoKey()),
    ],
)
def test_only_a_stated_tempo_and_key_are_parsed(text, stated):
    assert parse_tempo_key(text) == stated


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(("Am", 21), ("a minor", 21), ("f# minor", F_SHARP_MINOR), ("C#m", 13), ("Bb major", B_FLAT_MAJOR)),
        *(("b flat major", B_FLAT_MAJOR), ("bbm", 22), ("Abm", 20), (" C ", 0), ("g#", 8), ("E♭ maj", 3)),
        *((wrong, None) for wrong in ("H major", "", "major", "C major minor", "Am7", "C:maj", "minor C", "4")),
    ],
)
def test_the_name_of_a_key_is_read_in_any_usual_spelling(name, key):
    assert parse_key(name) == key


@pytest.mark.parametrize("key", range(24))
def test_keys_are_read_as_they_are_named(key):
    named = TempoKey().with_key(key)
    assert parse_key(named.key_name) == key
    assert parse_tempo_key(f"a piece in {named.key_name}") == named


@pytest.mark.parametrize(
    ("text", "metre"),
    [
        *(("in 3/4", "3/4"), ("In three four time", "3/4"), ("six-eight jig", "6/8"), ("12/8 blues", "12/8")),
        *(("a slow Waltz", "3/4"), ("waltz in 6/8", "3/4"), ("four on the floor", None), ("13/4", None)),
        *(("3/41", None), ("1/3/4", None), ("a jig", None), (None, None)),
    ],
)
def test_only_a_stated_metre_is_parsed(text, metre):
    assert parse_metre(text) == metre


def test_what_a_text_leaves_open_is_completed_unless_the_modes_differ():
    other = TempoKey(bpm=90.0, key=21, is_minor=True)
    assert TempoKey().completed(other) == other
    assert TempoKey(bpm=120.0).completed(other) == TempoKey(bpm=120.0, key=21, is_minor=True)
    assert TempoKey(is_minor=True).completed(other) == other
    assert TempoKey(is_minor=False).completed(other) == TempoKey(bpm=90.0, is_minor=False)
    assert TempoKey(key=0, is_minor=False).completed(other) == TempoKey(bpm=90.0, key=0, is_minor=False)


def test_a_tempo_and_a_key_that_are_given_replace_those_of_the_text():
    network, given = conditioner(), TempoKey(bpm=60.0, key=3, is_minor=False)
    assert network.prepare([{"text": "90 bpm", "tempo_key": given}, {"text": "90 bpm", "tempo_key": None}]) == [
        given,
        TempoKey(bpm=90.0),
    ]


def conditioner(**changes) -> TempoKeyConditioner:
    torch.manual_seed(0)
    return TempoKeyConditioner(TempoKeyConfig(**changes), 16)


def span(num_frames: int, first_beats: torch.Tensor | None = None) -> FrameSpan:
    frames = torch.arange(num_frames).float()
    return FrameSpan(num_frames=num_frames, frame_rate_hz=50.0, input_frames=frames, first_beats=first_beats)


def test_a_text_that_states_nothing_is_the_null_condition():
    network = conditioner()
    prepared = network.prepare([{"text": "a waltz"}, {"text": "90 bpm"}, {}])
    assert prepared == [TempoKey(), TempoKey(bpm=90.0), TempoKey()]
    embedding = network(prepared, span(10))["sum"]
    for row in (0, 2):
        assert not embedding.values[row].any()
        assert not embedding.mask[row].any()
    assert embedding.values[1].any(dim=1).all()
    assert embedding.mask[1].all()


def test_tempo_and_key_are_dropped_with_their_text():
    network = conditioner()
    assert network.condition == "text"
    stated = [TempoKey(bpm=90.0)] * 2
    kept, dropped = (network(stated, span(10), drop)["sum"] for drop in (None, torch.tensor([True, False])))
    assert not dropped.values[0].any()
    assert not dropped.mask[0].any()
    assert torch.equal(dropped.values[1], kept.values[1])


@pytest.mark.parametrize(("bpm", "frames_a_beat"), [(120.0, 25), (150.0, 20), (60.0, 50)])
def test_the_clock_repeats_with_every_beat_and_not_before(bpm, frames_a_beat):
    values = conditioner()([TempoKey(bpm=bpm)], span(200))["sum"].values[0]
    torch.testing.assert_close(values[frames_a_beat:], values[:-frames_a_beat], rtol=0, atol=1e-6)
    for lag in range(1, frames_a_beat):
        assert (values[lag:] - values[:-lag]).abs().max() > 0.01


def test_a_crop_is_conditioned_like_the_same_frames_of_the_whole():
    """Beats before the crop are the clock's offset, whatever their number."""
    stated = [TempoKey(bpm=97.3, key=3, is_minor=False)]
    network = conditioner()
    whole = network(stated, span(4_000))["sum"].values
    crop = network(stated, span(100, torch.tensor([3_700 / 50 * 97.3 / 60])))["sum"].values
    torch.testing.assert_close(crop, whole[:, 3_700:3_800], rtol=0, atol=1e-4)


def test_where_the_beat_is_unknown_there_is_no_clock():
    stated = [TempoKey(bpm=97.3)] * 2
    unknown, known = conditioner()(stated, span(100, torch.tensor([float("nan"), 0.25])))["sum"].values
    assert torch.equal(unknown, unknown[:1].expand_as(unknown))
    assert unknown.any()
    assert not torch.equal(known, known[:1].expand_as(known))


def test_no_device_is_asked_for_double_precision():
    """Apple's has none."""

    class Refusing(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type == "meta":
                assert out.dtype != torch.float64
            return out

    network = conditioner().to("meta")
    with Refusing():
        embedding = network([TempoKey(bpm=90.0)], span(5, torch.tensor([0.5])))["sum"]
    assert embedding.values.device.type == "meta"


def test_tempi_and_keys_have_different_embeddings():
    stated = [
        *(TempoKey(bpm=bpm) for bpm in (60.0, 90.0, 120.0, 125.0, 130.0, 180.0)),
        *(TempoKey(key=key, is_minor=key > 11) for key in range(24)),
        *(TempoKey(is_minor=is_minor) for is_minor in (False, True)),
    ]
    # Frame 0 is on the beat for all: what differs there is tempo and key, not the clock.
    values = conditioner()(stated, span(1))["sum"].values[:, 0]
    distances = torch.cdist(values, values) + 9 * torch.eye(len(stated))
    assert distances.min() > 0.1


@pytest.mark.parametrize("fields", [{"tempo_bumps": 1}, {"clock_harmonics": 0}])
def test_an_invalid_config_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        TempoKeyConfig(**fields)
