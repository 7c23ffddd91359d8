"""Shows the progress of a generation, and stops it after two seconds of music."""

import descant

model = descant.load("starter")
steps = 0


def show(done: int, total: int) -> None:
    global steps
    steps = done
    if done % 50 == 0:
        print(f"step {done} of {total}")


try:
    model.generate("upbeat funk with drums", duration_s=10, seed=1, progress=show, cancel=lambda: steps >= 100)
except descant.Cancelled as stopped:
    print(stopped)
