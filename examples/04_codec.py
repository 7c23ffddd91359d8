"""The codec alone: encodes a clip to four codes per frame, and decodes them."""

import descant

model = descant.load("starter")
clip = model.generate("accordion waltz", duration_s=2, seed=5)
codes = model.codec.encode(clip)
decoded = model.codec.decode(codes)
print(f"{clip.duration_s:g} s are {codes.numel()} codes, {decoded.duration_s:g} s when decoded")
