"""The step loop: codes of jobs side by side, each at a step of the pattern of its own.

A job's codes depend on the job alone. It has its own noise, its own settings and its own length, and the runtime gives
its sequences the same bits whatever others are there (on a CPU).
"""

from collections.abc import Iterable, Sequence
from types import TracebackType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.decode_batch import DecodeBatch
from descant.generation.decode_job import DecodeJob, Decoding
from descant.generation.draw import draw_for
from descant.generation.runtimes import Runtime
from descant.generation.runtimes.native import NativeSession
from descant.patterns import Pattern


class Decoder:
    """Jobs that are decoded side by side; they join and leave between steps. It belongs to one thread at a time.

    At the end of a ``with`` block the jobs that are left leave.

    Args:
        is_alone: whether other threads decode at the same time, so that this one must do with itself.
    """

    def __init__(self, runtime: Runtime, pattern: Pattern, *, is_alone: bool = False) -> None:
        self._lm, self._pattern = runtime.lm, pattern
        self._session = runtime.start_alone() if is_alone else runtime.start()
        self._draw = draw_for(runtime.lm.norm.weight.device)
        weight, config = self._lm.norm.weight, self._lm.config
        self._batch = self._batch_of([])
        # Of the next step of every row of the batch.
        self._logits: Float[Tensor, "B K V"] = weight.new_empty(0, config.num_codebooks, config.codebook_size)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave_all()

    @property
    def active(self) -> list[Decoding]:
        """The jobs that are not done."""
        return self._batch.decodings

    @property
    def steps_at_once(self) -> int:
        """The most steps that ``advance`` draws; 1 where steps take so long that a caller would wait for several."""
        return self._session.steps_at_once(len(self._batch.slots)) if isinstance(self._session, NativeSession) else 1

    @torch.inference_mode()
    def join(self, job: DecodeJob) -> Decoding:
        """Adds a job and reads the steps that are known."""
        self._batch.write()
        decoding = Decoding(job, self._pattern, self._lm.special_code)
        known = decoding.known_steps.expand(job.num_rows, -1, -1)
        decoding.slots, logits = self._session.join(job.inputs, known, decoding.num_steps)
        slots = [*self._batch.slots, *decoding.slots]
        self._arrange([*self.active, decoding])
        self._pick(torch.cat([self._logits, logits]), slots)
        return decoding

    @torch.inference_mode()
    def advance(self, most: int = 1) -> list[Decoding]:
        """Draws a step of every job, and reads it where another one follows. Gives the jobs that are done; they left.

        Args:
            most: the most steps. Several are drawn where the runtime can and where no job ends meanwhile.

        Raises:
            CheckpointError: the model gave logits that are not finite. It may be noticed some steps later, but before
                any codes of these steps are given out.
        """
        drawing = self._batch.drawing(min(most, self.steps_at_once))
        if drawing is not None and isinstance(self._session, NativeSession):
            codes, scores, self._logits = self._session.draw_steps(self._batch.slots, self._logits, drawing)
            self._batch.take(codes, scores)
            return []
        codes, before = self._batch.draw(self._logits), self.active
        done = [decoding for decoding in before if decoding.is_done]
        if done:
            self._arrange(decoding for decoding in before if not decoding.is_done)
            self._session.leave([slot for decoding in done for slot in decoding.slots])
            codes = codes[[before.index(decoding) for decoding in self.active]]
        if self.active:
            self._logits = self._session.step(self._batch.slots, self._batch.rows_of(codes))
        else:
            self._logits = self._logits[:0]
        return done

    @torch.inference_mode()
    def leave(self, decoding: Decoding) -> None:
        """Removes a job that is not done."""
        slots = self._batch.slots
        self._arrange(other for other in self.active if other is not decoding)
        self._session.leave(decoding.slots)
        self._pick(self._logits, slots)

    @torch.inference_mode()
    def leave_all(self) -> None:
        """Removes all jobs that are not done, also after an error; codes that nobody has asked for are lost."""
        self._session.leave(self._batch.slots)
        self._batch = self._batch_of([])
        self._logits = self._logits[:0]

    @torch.inference_mode()
    def shorten(self, decoding: Decoding, num_frames: int) -> None:
        """Ends a job after ``num_frames`` frames, of which none may have begun behind them (`Decoding.shorten`)."""
        self._batch.write()
        decoding.shorten(num_frames)

    @torch.inference_mode()
    def codes(self, decoding: Decoding) -> Int[Tensor, "K T"]:
        """The codes of a job in frame order, whether it is done or not; those that are not known yet are the special
        code.

        Raises:
            CheckpointError: the model gave logits that are not finite.
        """
        self._batch.write()
        return decoding.codes()

    def _arrange(self, decodings: Iterable[Decoding]) -> None:
        self._batch.write()
        self._batch = self._batch_of(decodings)

    def _batch_of(self, decodings: Iterable[Decoding]) -> DecodeBatch:
        return DecodeBatch(decodings, self._lm.config.codebook_size, self._lm.norm.weight.device, self._draw)

    def _pick(self, logits: Float[Tensor, "rows K V"], slots: Sequence[int]) -> None:
        """Keeps the logits of the batch's rows, of those that belong to these slots."""
        self._logits = logits[[slots.index(slot) for slot in self._batch.slots]]
