"""A file records how it was made, and regenerating it gives the same codes."""

import descant
from descant.audio import read_info

model = descant.load("starter")
first = model.generate("music box lullaby", duration_s=2)
first.save("lullaby.flac")

again = model.generate(descant.request_from_info(read_info("lullaby.flac")))
print("the same codes:", bool((first.codes == again.codes).all()))
