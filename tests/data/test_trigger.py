"""The trigger word is in every caption, whatever words are dropped."""

import pytest
import torch

from descant.data.captions import CaptionConfig
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.data.trigger import TriggeredBatches, rows_of
from tests.data.fake_codec import FakeCodec, saved


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    clips = [
        saved(folder / f"{index}.wav", 1.0 + index, seed=index, captions=("soft low strings",) * (index % 2))
        for index in range(4)
    ]
    tokenize(clips, FakeCodec(), folder / "tokens")
    return folder / "tokens"


def batches_of(tokens, **changes):
    return TokenBatches(tokens, TokenBatchConfig(**{"batch_size": 3, "segment_frames": 20, **changes}))


def test_every_caption_begins_with_the_trigger_word_however_many_words_are_dropped(tokens):
    plain = batches_of(tokens, captions=CaptionConfig(word_dropout=0.9))
    for step in range(20):
        batch, untriggered = TriggeredBatches(plain, "mymusic").batch(step), plain.batch(step)
        assert torch.equal(batch.codes, untriggered.codes)
        for caption, before in zip(batch.captions, untriggered.captions, strict=True):
            assert caption == ("mymusic" if before is None else f"mymusic, {before}")


def test_the_rows_of_a_batch_are_the_batch(tokens):
    batch = batches_of(tokens).batch(0)
    first, rest = rows_of(batch, slice(1)), rows_of(batch, slice(1, None))
    assert torch.equal(torch.cat([first.codes, rest.codes]), batch.codes)
    assert [*first.captions, *rest.captions] == batch.captions
    assert [*first.clips, *rest.clips] == batch.clips
