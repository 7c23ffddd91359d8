"""The tune of one piece, played by other instruments."""

import descant
from descant import Guidance, Request
from descant.evaluation.chroma_cosine import chroma_cosine

model = descant.load("starter")
tune = model.generate("solo flute, folk tune, 100 bpm", duration_s=5, seed=3)
organ = model.generate(Request(text="slow church organ", melody=tune, duration_s=5, seed=1))
closer = model.generate(Request(text="music box", melody=tune, duration_s=5, seed=1, guidance=Guidance(melody_scale=4)))
for name, clip in (("organ", organ), ("music box", closer)):
    clip.save(f"{name.replace(' ', '-')}.wav")
    print(f"{name}: the tune's loudest pitch in {chroma_cosine(clip, tune):.0%} of the frames")
