"""The codec alone: a clip to four codes a frame and back."""

import descant

model = descant.load("starter")
clip = model.generate("accordion waltz", duration_s=2, seed=5)
codes = model.codec.encode(clip)
again = model.codec.decode(codes)
print(f"{clip.duration_s:g} s are {codes.numel()} codes, {again.duration_s:g} s when decoded")
