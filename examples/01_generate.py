"""Ten seconds of music from a sentence."""

import descant

model = descant.load("starter")
clip = model.generate("warm slow piano ballad", duration_s=10, seed=7)
clip.save("piano.wav")
print(f"piano.wav: {clip.duration_s:g} s, seed {clip.info['seed']}")
