"""A piece longer than the model was trained for, heard while it is made, whose prompt changes on the way."""

import descant
from descant import Request

model = descant.load("starter")
timeline = ((4, "drums and piano, 100 bpm"), (8, "full band, 100 bpm"))
stream = model.stream(Request(text="calm piano, 100 bpm", timeline=timeline, duration_s=12, seed=1))
heard_s = 0.0
for clip in stream:
    heard_s += clip.duration_s  # a player would play it here
print(f"{heard_s:g} s, codes {tuple(stream.codes.shape)}")
