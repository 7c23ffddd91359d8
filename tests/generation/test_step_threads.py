"""Which number of threads steps are done with: the faster one, also when that changes on the way."""

import threading

import pytest
import torch

from descant.generation.step_threads import FasterChoice, StepThreads


def seconds_of(steps: list[tuple[float, float]]) -> float:
    """The seconds of all steps; each has its seconds with all threads and with one."""
    choice, total = FasterChoice(), 0.0
    for both in steps:
        seconds = both[choice.current]
        choice.observe(seconds)
        total += seconds
    return total


@pytest.mark.parametrize(("all_threads", "one"), [(7, 10), (10, 9), (70, 130), (100, 10)])
def test_steps_take_little_longer_than_the_faster_way(all_threads, one):
    steps = [(all_threads / 1_000, one / 1_000)] * 1_000
    trials = 10 * abs(all_threads - one) / 1_000
    assert seconds_of(steps) <= 1_000 * min(all_threads, one) / 1_000 + 3 * trials


def test_other_work_that_begins_and_ends_is_noticed():
    quiet, busy = (0.007, 0.010), (0.100, 0.011)
    steps = [*[quiet] * 500, *[busy] * 500, *[quiet] * 2_000]
    best = sum(min(step) for step in steps)
    assert seconds_of(steps) <= 1.25 * best


def test_one_slow_step_changes_nothing():
    choice = FasterChoice()
    for step in range(200):
        choice.observe((0.007, 0.010)[choice.current] + (0.012 if step == 150 else 0))
    assert choice.current == 0


class _Steps:
    """Decoding steps that see the number of threads."""

    def __init__(self) -> None:
        self.threads = StepThreads(torch.device("cpu"))
        self.seen: list[int] = []

    def take(self, count: int) -> None:
        for _ in range(count):
            with self.threads.step():
                self.seen.append(torch.get_num_threads())


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_both_numbers_are_tried_and_the_usual_one_is_left_behind():
    steps = _Steps()
    for _ in range(20):
        steps.take(1)
        assert torch.get_num_threads() == 2
    assert set(steps.seen) == {1, 2}


def test_a_step_that_fails_leaves_the_usual_number_behind():
    steps = _Steps()
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), steps.threads.step():
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2


def test_threads_that_decode_at_once_and_those_that_start_meanwhile_keep_the_usual_number():
    """torch's own setting is the process's: a thread that began in the middle of a step once kept one for good."""
    after: list[int] = []
    meanwhile: list[int] = []

    def decode(steps: _Steps) -> None:
        for _ in range(100):
            steps.take(1)
            fresh = threading.Thread(target=lambda: meanwhile.append(torch.get_num_threads()))
            with steps.threads.step():
                fresh.start()
                fresh.join()
        after.append(torch.get_num_threads())

    several = [_Steps() for _ in range(4)]
    workers = [threading.Thread(target=decode, args=(steps,)) for steps in several]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(set(steps.seen) == {1, 2} for steps in several)
    assert set(after) == set(meanwhile) == {2}
    assert torch.get_num_threads() == 2


def test_where_one_thread_is_usual_nothing_is_tried():
    torch.set_num_threads(1)
    steps = _Steps()
    steps.take(20)
    assert set(steps.seen) == {1}
