import threading
import time

import pytest

from descant.training.prefetch import Prefetcher


class Source:
    def __init__(self, bad=None):
        self.made = []
        self.bad = bad

    def batch(self, step):
        if step == self.bad:
            raise OSError("a broken file")
        self.made.append(step)
        return step * 10


def test_batches_come_in_order_and_only_a_few_ahead():
    source = Source()
    with Prefetcher(source, range(100), depth=3) as batches:
        assert [batches.next_batch() for _ in range(5)] == [0, 10, 20, 30, 40]
        time.sleep(0.2)
        assert len(source.made) <= 5 + 3 + 1
    assert not any(thread.name == "descant-batches" for thread in threading.enumerate())


def test_an_error_of_the_source_is_raised_at_its_own_batch():
    with Prefetcher(Source(bad=2), range(9)) as batches:
        assert [batches.next_batch(), batches.next_batch()] == [0, 10]
        with pytest.raises(OSError, match="a broken file"):
            batches.next_batch()
