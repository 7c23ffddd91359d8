"""Texts that are encoded ahead, in batches, and kept have the vectors that they have alone, and so have runs."""

import sqlite3
import threading
from dataclasses import replace

import pytest
import torch

from descant.conditioning.base import TextEncoder
from descant.conditioning.encoders.equal_lengths import EqualLengths
from descant.conditioning.encoders.small import SmallTextConfig, SmallTextEncoder, SmallTextNetwork
from descant.training.encoded_texts import STORE_NAME, EncodedTexts, encoding_texts
from descant.training.prepared_batches import PreparedBatches
from descant.training.text_store import TextStore
from descant.training.trainer import Trainer
from tests.training.test_lm_task import Jingles, LetterEncoder, tiny_task
from tests.wordpieces import WORDS, make_wordpiece

TEXTS = ["warm piano", "slow", "a warm and slow piano", "fast", "warm fast", "slow piano", "piano warm"]


class Counting(TextEncoder):
    """Fixed vectors of letters; remembers what it was asked and in which thread."""

    dim = 8
    device = torch.device("cpu")

    def __init__(self, scale: float = 1.0):
        self.scale, self.asked, self.threads = scale, [], set()

    def to(self, device):
        del device
        return self

    def content(self):
        return "letters", {"scale": torch.tensor([self.scale])}

    def states(self, text):
        self.asked.append(text)
        self.threads.add(threading.current_thread().name)
        return self.scale * LetterEncoder().states(text)


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "descant"


@pytest.fixture
def small():
    torch.manual_seed(0)
    config = SmallTextConfig(
        vocab_size=4 + len(WORDS), width=64, num_layers=2, num_heads=4, mlp_width=256, embedding_rank=16
    )
    return SmallTextEncoder(SmallTextNetwork(config), make_wordpiece())


def same(first, second):
    return len(first) == len(second) and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def encoded(encoder, texts, times=1, max_bytes=2**20):
    """What an ``EncodedTexts`` of its own gives the last time."""
    ahead = EncodedTexts(encoder, max_bytes)
    try:
        return [ahead.states_of(texts) for _ in range(times)][-1]
    finally:
        ahead.close()


def test_texts_have_the_vectors_that_they_have_alone(small):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = [small.states(text) for text in TEXTS]
    torch.set_num_threads(before)
    assert same(encoded(small, TEXTS), alone)
    assert same(encoded(small, TEXTS, times=2), alone)
    assert same(encoded(small, TEXTS), alone)
    assert torch.get_num_threads() == before, "the thread that encodes has one core, and no other"


def test_what_came_twice_is_read_from_disk_by_the_next_run_and_what_came_once_is_not_stored(caches):
    first = Counting()
    fresh = [first.states(text) for text in TEXTS[:4]]
    encoded(Counting(), TEXTS[:2], times=3)
    encoded(Counting(), TEXTS[2:4])
    later = Counting()
    assert same(encoded(later, TEXTS[:4]), fresh)
    assert later.asked == TEXTS[2:4]
    with sqlite3.connect(caches / STORE_NAME) as database:
        assert database.execute("SELECT COUNT(*) FROM vectors").fetchone() == (2,)
    unstored = Counting()
    encoded(unstored, TEXTS[:2], max_bytes=0)
    assert unstored.asked == TEXTS[:2]


def test_another_encoder_does_not_get_the_vectors_of_this_one():
    encoded(Counting(), ["piano"], times=2)
    assert same(encoded(Counting(scale=2.0), ["piano"]), [2.0 * Counting().states("piano")])


def test_the_store_stays_below_its_limit_and_keeps_the_newest(tmp_path):
    store = TextStore(tmp_path / "texts.sqlite", 2**18)
    for number in range(40):
        store.write({b"%d" % number: torch.full((16, 256), float(number))})
    assert (tmp_path / "texts.sqlite").stat().st_size <= 2**18
    assert store.read([b"0", b"39"], 256).keys() == {b"39"}
    store.write({b"many %d" % number: torch.ones(16, 256) for number in range(10)})
    assert (tmp_path / "texts.sqlite").stat().st_size <= 2**18
    store.close()


def test_damaged_vectors_are_encoded_again(caches):
    encoded(Counting(), TEXTS[:2], times=2)
    with sqlite3.connect(caches / STORE_NAME) as database:
        database.execute("UPDATE vectors SET content = zeroblob(length(content)) WHERE rowid = 1")
    again = Counting()
    assert same(encoded(again, TEXTS[:2]), [Counting().states(text) for text in TEXTS[:2]])
    assert len(again.asked) == 1


@pytest.mark.parametrize("damage", ["content", "a folder", "a file in the way"])
def test_a_store_that_cannot_be_used_is_named_and_nothing_else(caches, caplog, damage):
    if damage == "a file in the way":
        caches.parent.mkdir()
        caches.write_text("")
    else:
        caches.mkdir(parents=True)
        (caches / STORE_NAME).write_bytes(b"no database " * 1_000) if damage == "content" else (
            caches / STORE_NAME
        ).mkdir()
    assert same(encoded(Counting(), TEXTS[:2], times=2), [Counting().states(text) for text in TEXTS[:2]])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "texts are encoded again" in caplog.text


def test_a_shape_of_batches_that_changes_a_bit_is_not_used():
    """Here a batch of four rows differs from its rows alone, as on some machines; one of two does not."""
    shapes = []

    def network(token_ids):
        shapes.append(tuple(token_ids.shape))
        return token_ids[..., None] + (0.5 if len(token_ids) == 4 else 0.0)

    together = EqualLengths(network)
    texts = [torch.arange(3) + number for number in range(7)] + [torch.arange(2)]
    for _ in range(3):
        shapes.clear()
        assert same(together(texts), [text[:, None] + 0.0 for text in texts])
    assert shapes == [(1, 3)] * 4 + [(2, 3), (1, 3), (1, 2)]


def trainer_of(toy, folder, task, is_ahead, **changes):
    batches = PreparedBatches(Jingles(), task.prepare_ahead) if is_ahead else Jingles()
    return Trainer(task, batches, toy.config(**{"max_steps": 9, "save_every": 4, **changes}), folder)


def test_a_run_that_encodes_ahead_has_the_bits_of_one_that_does_not_and_resumes_with_them(toy, tmp_path):
    plain = trainer_of(toy, tmp_path / "plain", tiny_task(), False)
    plain.run()
    for minutes in (1e-9, None):
        task = tiny_task()
        task.musicgen.text.encoder = encoder = Counting()
        ahead = trainer_of(toy, tmp_path / "ahead", task, True, max_minutes=minutes)
        with encoding_texts(task.musicgen, 2**20):
            assert isinstance(task.musicgen.text.encoder, EncodedTexts)
            ahead.run(resume=ahead.log.file.exists())
        assert task.musicgen.text.encoder is encoder, "a model is saved with its own encoder"
        assert {name.rstrip("0123456789_") for name in encoder.threads} <= {"descant-texts"}
        assert len(encoder.asked) <= 4, "of four texts, each is encoded once"
    assert toy.same_bits(toy.weights(ahead), toy.weights(plain))


def test_a_block_does_not_change_its_batches():
    task = tiny_task()
    ahead, late = (PreparedBatches(Jingles(), task.prepare_ahead) for _ in range(2))
    batches = [ahead.batch(step) for step in range(12)]
    for step in (11, 3, 9):
        again = late.batch(step)
        assert torch.equal(again.codes, batches[step].codes)
        assert torch.equal(
            again.prepared["text"].values[again.prepared["text"].mask],
            batches[step].prepared["text"].values[batches[step].prepared["text"].mask],
        )
    assert replace(batches[0], prepared=None).captions == Jingles().batch(0).captions


def test_an_encoder_of_unknown_content_encodes_as_before():
    task = tiny_task()
    with encoding_texts(task.musicgen, 2**20):
        assert isinstance(task.musicgen.text.encoder, LetterEncoder)
