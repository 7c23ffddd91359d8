"""librosa's door: who compiles is alone."""

import threading
import time

from descant.audio.analysis import alone_in


def test_no_two_are_in_the_block_at_once(tmp_path):
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        with alone_in(tmp_path):
            inside.append(1)
            seen.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [1, 1, 1, 1]


def test_who_waits_too_long_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("descant.audio.analysis.COMPILING_S", 0.2)
    began = time.monotonic()
    with alone_in(tmp_path), alone_in(tmp_path):
        assert time.monotonic() - began < 5
