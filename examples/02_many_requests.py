"""Several requests in one batch: different prompts, lengths and settings; each result is the same as alone."""

import descant
from descant import Guidance, Request, Sampling

model = descant.load("starter")
requests = [
    Request(text="rock drums, 120 bpm", duration_s=2, seed=1),
    Request(text="calm strings", duration_s=3, seed=2, guidance=Guidance(scale=4)),
    Request(text="jazz piano", negative_text="drums", duration_s=2, seed=3, sampling=Sampling(top_k=50)),
]
for request, clip in zip(requests, model.generate(requests), strict=True):
    print(f"{request.text}: {clip.duration_s:g} s, codes {tuple(clip.codes.shape)}")
