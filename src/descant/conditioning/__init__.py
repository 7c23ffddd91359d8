"""What the language model is conditioned on, one file for each condition.

| condition | file | of a request | how it reaches the language model |
|---|---|---|---|
| text | `text.py`, `clap.py` | a sentence | cross-attention, or a prefix; its mean is added to the output |
| melody | `melody.py`, `chroma.py` | a wave, or levels | a prefix, cross-attention, or added to the steps |
| style | `style.py` | a wave, or codes | a prefix |
| tempo, key and beat | `tempo_key.py` | words of the text | added to the steps |
| chords | `chords.py` | symbols with times | added to the steps |

`tempo_key_prior.py` and `chord_prior.py` choose tempo, key and chords for texts that leave them open; `song_form.py`
has the phrases that return. `base.py` has the interface, `fuser.py` joins the embedded conditions into the inputs of
the model, `dropout.py` hides them in training, and `encoders/` has the frozen networks.
"""
