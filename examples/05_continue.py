"""Continues existing music: the prompt's codes stay as they are."""

import descant
from descant import Request

model = descant.load("starter")
start = model.generate("folk jig, flute", duration_s=2, seed=3)
longer = model.generate(Request(text="folk jig, flute", prompt=start, duration_s=5, seed=4))
longer.save("jig.wav")
print(f"{start.duration_s:g} s became {longer.duration_s:g} s")
