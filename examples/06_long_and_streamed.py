"""Music longer than the model was trained for, streamed while it is made, with a prompt that changes on the way."""

import descant
from descant import Request

model = descant.load("starter")
timeline = ((4, "drums and piano, 100 bpm"), (8, "full band, 100 bpm"))
stream = model.stream(Request(text="calm piano, 100 bpm", timeline=timeline, duration_s=12, seed=1))
played_s = 0.0
for clip in stream:
    played_s += clip.duration_s  # hand the clip to a player here
print(f"{played_s:g} s, codes {tuple(stream.codes.shape)}")
