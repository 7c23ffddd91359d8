"""Steps use all threads or one, whichever is faster at the moment; trials cost little. Time is that of a clock here."""

import pytest

from descant.generation.runtimes.native.team_size import MAX_PAUSE_S, TeamSize

QUIET = {1: 0.010, 2: 0.006}
BUSY = {1: 0.015, 2: 0.060}
"""Seconds of a step with each number of threads."""


class Machine:
    """Steps on a clock that advances only with them."""

    def __init__(self, num_threads: int = 2) -> None:
        self.now = 0.0
        self.team = TeamSize(num_threads, lambda: self.now)

    def run(self, costs: dict[int, float], duration_s: float, num_tokens: int = 2) -> list[int]:
        """The numbers of threads of the steps within this time."""
        numbers, end = [], self.now + duration_s
        while self.now < end:
            with self.team.step(num_tokens):
                numbers.append(self.team.num_threads)
                self.now += costs[self.team.num_threads]
        return numbers


def slowdown(numbers: list[int], costs: dict[int, float]) -> float:
    """The time of these steps, against that of the better number."""
    return sum(costs[number] for number in numbers) / (len(numbers) * min(costs.values()))


def test_a_quiet_machine_uses_all_threads_and_loses_little_to_trials():
    numbers = Machine().run(QUIET, 20)
    assert 1 in numbers
    assert slowdown(numbers, QUIET) < 1.06


def test_where_several_threads_are_slower_one_is_used_within_a_few_steps():
    machine = Machine()
    machine.run(QUIET, 5)
    numbers = machine.run(BUSY, 30)
    assert 1 in numbers[:8]
    assert slowdown(numbers, BUSY) < 1.08


def test_one_that_is_busy_from_the_start_is_noticed_in_the_first_window():
    assert Machine().run(BUSY, 1)[:4] == [2, 2, 2, 1]


def test_all_threads_come_back_when_the_machine_is_quiet_again():
    machine = Machine()
    machine.run(BUSY, 30)
    machine.run(QUIET, MAX_PAUSE_S + 0.1)
    assert slowdown(machine.run(QUIET, 5), QUIET) < 1.06


def test_a_difference_within_the_noise_changes_nothing():
    numbers = Machine().run({1: 0.0098, 2: 0.010}, 20)
    assert numbers.count(2) > 0.8 * len(numbers)


def test_steps_of_other_batches_are_not_compared():
    """A step of two rows with one thread takes less time than one of sixteen rows with two."""
    machine = Machine()
    machine.run({number: 8 * seconds for number, seconds in QUIET.items()}, 0.1, num_tokens=16)
    assert machine.team.num_threads == 1, "a trial has begun"
    assert set(machine.run(QUIET, 0.2)) == {2}


@pytest.mark.parametrize("costs", [QUIET, BUSY])
def test_a_caller_with_one_thread_keeps_it(costs):
    assert set(Machine(num_threads=1).run(costs, 2)) == {1}
