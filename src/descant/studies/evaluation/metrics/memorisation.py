"""Whether clips repeat the training set: five seconds of codes that are equal in at least 80 % of the frames."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from descant import api
from descant.audio import Clip
from descant.checkpoints.codes import load_codes
from descant.codec.clip_codec import ClipCodec
from descant.codec.spec import codec_spec
from descant.counted import counted
from descant.data.shard_index import read_index
from descant.errors import InvalidRequest, naming
from descant.evaluation.memorisation import PARTIAL_SHARE, WINDOW_FRAMES, find_copies, shard_codes
from descant.evaluation.report import rate_with_interval
from descant.studies.evaluation.base import ClipFile, Measure, SetScores, Training, TrainingMetric

_PARTIAL = Measure(key="copied", label="share of clips with 5 s from the training set, 80 % of codes", better="lower")
_EXACT = Measure(key="copied_exactly", label="share of clips with 5 s from the training set, all codes", better="lower")
_OF_CLIP = Measure(key="copied_share", label="largest share of codes equal to the training set", better="lower")


class Memorisation(TrainingMetric):
    """The search covers the whole training set; the codes are those saved next to the clips, or encoded again."""

    name = "memorisation"
    help = "share of clips with five seconds whose codes are in the training set; needs --training"
    needs = ("training",)
    measures = (_PARTIAL, _EXACT, _OF_CLIP)

    def measure(self, files: Sequence[ClipFile], training: Training) -> SetScores:
        codec = api.load(training.model).codec
        if codec_spec(codec.codec) != read_index(training.folder).codec:
            raise InvalidRequest(
                f"training={str(training.folder)!r}: its codes are of another codec than {training.model}'s; "
                "name the model that was trained on it (--model)"
            )
        num_encoded, codes = 0, []
        for file in files:
            saved = file.path.with_suffix(".safetensors")
            num_encoded += not saved.is_file()
            with naming(file.name):
                codes.append(_first_codebook(load_codes(saved)[0] if saved.is_file() else _encoded(file, codec)))
        copies = find_copies(codes, shard_codes(training.folder))
        shares = {file.name: 0.0 if copy is None else copy.share for file, copy in zip(files, copies, strict=True)}
        exact, partial = (sum(share >= least for share in shares.values()) for least in (1.0, PARTIAL_SHARE))
        note = f"the codes of {counted(num_encoded, 'clip')} were encoded again from audio, which hides exact copies"
        return SetScores(
            rows={
                "copied": rate_with_interval(partial, len(files)),
                "copied_exactly": rate_with_interval(exact, len(files)),
            },
            of_clips={"copied_share": shares},
            notes=[note] if num_encoded else [],
        )


def _encoded(file: ClipFile, codec: ClipCodec) -> Int[Tensor, "K T"]:
    return codec.encode(Clip.read(file.path))


def _first_codebook(codes: Int[Tensor, "K T"]) -> Int[Tensor, " T"]:
    if codes.shape[1] < WINDOW_FRAMES:
        raise InvalidRequest(f"{codes.shape[1]} frames: copies are looked for in windows of {WINDOW_FRAMES}")
    return codes[0].to(torch.int64)
