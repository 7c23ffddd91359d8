"""The process with the model: makes music for the clips it is asked for, side by side, and sends it as it comes."""

import logging
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from descant.api import MusicGen
from descant.apps.cli.codec import header_of
from descant.apps.server.engine.adapters import AdapterShelf
from descant.apps.server.engine.measures import UNMEASURED, measured
from descant.apps.server.engine.messages import Message, refusal_of
from descant.apps.server.engine.sources import read_sources
from descant.apps.server.engine.work import Work, shared_choices
from descant.apps.server.requests import library_request
from descant.audio import Clip
from descant.audio.pcm import from_pcm16
from descant.best_of import Choice, candidates
from descant.checkpoints.codes import CodesHeader, codes_to_bytes
from descant.errors import InvalidRequest
from descant.generation.progressive import ProgressiveMusic
from descant.generation.readers import ReadRequest
from descant.generation.request import Request
from descant.generation.resolve import Resolver
from descant.generation.stream_batch import Advance
from descant.nn.settings import own_settings

ALIVE_EVERY_S = 0.25
CHUNK_S, FIRST_CHUNK_S, LONGEST_CHUNK_S = 0.4, 0.2, 1.6
WARM_UP_S = 0.5

_log = logging.getLogger("descant.server.engine")


def warm_up(model: MusicGen) -> None:
    """Makes a little music, so that what is compiled at first use does not delay the first listener."""
    for _ in model.stream("piano", duration_s=WARM_UP_S, seed=0):
        pass


@dataclass
class Preparation:
    """A clip whose request is being read.

    Args:
        read: its candidates, ready to be made, or why there are none.
        changes: of its sections, for when it has begun.
    """

    read: Future[tuple[Choice, list[ReadRequest]]]
    is_measured: bool
    changes: list[Message] = field(default_factory=list)


class Worker:
    """Makes clips until it is told to stop.

    Args:
        adapters: the folder with the adapters that requests may name.
        inbox: messages from the server; None at the end of the pipe.
        send: sends a message to the server.
    """

    def __init__(
        self,
        model: MusicGen,
        adapters: Path,
        inbox: "queue.Queue[Message | None]",
        send: Callable[[Message], None],
    ) -> None:
        self._model, self._inbox, self._send = model, inbox, send
        self._adapters = AdapterShelf(adapters, model)
        self._batch = model.engine.stream_batch(
            chunk_s=CHUNK_S, first_chunk_s=FIRST_CHUNK_S, longest_chunk_s=LONGEST_CHUNK_S
        )
        self._works: dict[str, Work] = {}
        self._ids: dict[ProgressiveMusic, str] = {}
        self._told_alive = 0.0
        # Beside the steps, so that neither holds up the clips that are being made.
        self._measuring, self._checking = ThreadPoolExecutor(max_workers=1), ThreadPoolExecutor(max_workers=1)
        self._preparing = ThreadPoolExecutor()
        self._unprepared: dict[str, Preparation] = {}

    @cached_property
    def _codes_header(self) -> CodesHeader:
        """Of codes of this codec. Its fingerprint reads all weights: a third of a second for the released ones."""
        return header_of(self._model, num_samples=1)

    def run(self) -> None:
        """Works until the pipe ends."""
        while self._receive():
            for one in self._batch.advance():
                self._deliver(one)
            self._tell_alive()
        self._measuring.shutdown()
        self._checking.shutdown()
        self._preparing.shutdown()
        self._batch.close()

    def _receive(self) -> bool:
        """Handles the messages that have come, and waits for one if there is nothing to make. False at the end.

        While a request is prepared or a best candidate is chosen it waits briefly only: the server takes an engine with
        work that is silent for dead.
        """
        while True:
            has_work = bool(self._works or self._unprepared)
            try:
                message = self._inbox.get(not len(self._batch), ALIVE_EVERY_S if has_work else None)
            except queue.Empty:
                return True
            if message is None:
                return False
            if message.kind == "check":
                self._checking.submit(self._check, message)
                continue
            self._handle(message)

    def _handle(self, message: Message) -> None:
        actions = {
            "make": self._prepare,
            "prepared": self._make,
            "change": self._change,
            "cancel": self._cancel,
            "chosen": self._on_chosen,
        }
        actions[message.kind](message)

    def _request(self, message: Message) -> Request:
        job = message.fields["request"]
        adapters = [(self._adapters.named(one["name"]), one["strength"]) for one in job["adapters"]]
        return library_request(
            job,
            self._model.default_sampling,
            self._model.default_guidance,
            adapters=adapters,
            **read_sources(message, self._model),
        )

    def _check(self, message: Message) -> None:
        """Answers whether the model would refuse a request."""
        refusal = None
        try:
            with own_settings():
                request = self._request(message)
                Resolver(self._model.model).check(request)
                candidates(request, message.fields["request"]["best_of"])
        except Exception as error:
            refusal = refusal_of(error)
        self._send(Message("answer", fields={"question": message.fields["question"], "refusal": refusal}))

    def _prepare(self, message: Message) -> None:
        """Has the request of a clip read beside the steps: compiling what judges candidates may take a minute, and
        separating the parts of a long melody too.
        """

        def read() -> tuple[Choice, list[ReadRequest]]:
            with own_settings():
                choice = Choice(self._request(message), message.fields["request"]["best_of"])
                places = range(len(choice.requests))
                auditions = [choice.audition(place, self._measuring.submit) for place in places]
                return choice, self._batch.read(choice.requests, auditions)

        prepared = self._preparing.submit(read)
        self._unprepared[message.clip_id] = Preparation(prepared, is_measured=message.fields["analyse"])
        prepared.add_done_callback(lambda _: self._inbox.put(Message("prepared", message.clip_id)))

    def _make(self, message: Message) -> None:
        prepared = self._unprepared.pop(message.clip_id, None)
        if prepared is None:  # cancelled meanwhile
            return
        self._begin(message.clip_id, prepared)
        for change in prepared.changes:
            self._change(change)

    def _begin(self, clip_id: str, prepared: Preparation) -> None:
        musics: list[ProgressiveMusic] = []
        try:
            choice, read = prepared.read.result()
            for one in read:
                musics.append(self._batch.join(one))
        except Exception as error:
            self._remove(musics)
            self._fail(clip_id, error)
            return
        self._works[clip_id] = Work(choice, musics, is_measured=prepared.is_measured)
        self._ids.update(dict.fromkeys(musics, clip_id))
        fields = {
            "num_samples": musics[0].request.num_samples,
            "sample_rate_hz": self._model.sample_rate_hz,
            "channels": self._model.num_channels,
            **shared_choices([music.request for music in musics]),
        }
        self._send(Message("begun", clip_id, fields))

    def _change(self, message: Message) -> None:
        """Replaces the sections to come; answers with those that now apply, or why it is too late."""
        if message.clip_id in self._unprepared:
            self._unprepared[message.clip_id].changes.append(message)
            return
        work = self._works.get(message.clip_id)
        later = [(section["start_s"], section["text"]) for section in message.fields["sections"]]
        sections, too_late = message.fields["sections"], None
        if work is None:
            too_late = "this clip is not being made"
        else:
            try:
                self._batch.revise(work.musics[0], later)
                sections = [{"start_s": second, "text": text} for second, text in work.musics[0].request.timeline]
            except InvalidRequest as error:
                too_late = str(error)
        answer = {"question": message.fields["question"], "refusal": None, "sections": sections, "too_late": too_late}
        self._send(Message("answer", message.clip_id, answer))

    def _cancel(self, message: Message) -> None:
        self._unprepared.pop(message.clip_id, None)
        work = self._works.get(message.clip_id)
        if work is None:
            self._send(Message("stopped", message.clip_id, {"info": None}))
            return
        self._remove(work.musics)
        self._finish(message.clip_id, work.musics[0], "stopped")

    def _deliver(self, one: Advance) -> None:
        """Sends what a step has given of a clip."""
        clip_id = self._ids.get(one.music)
        if clip_id is None:  # another candidate of its clip has failed in the same step
            return
        work = self._works[clip_id]
        if one.error is not None:
            self._remove(self._forget(clip_id).musics)
            self._fail(clip_id, one.error)
        elif work.is_choice:
            if work.hold(one.music, one.waves, one.is_done):
                self._measuring.submit(self._choose, clip_id, work)
        else:
            for wave in one.waves:
                self._send_audio(clip_id, work, wave, one.music)
            if one.is_done:
                self._finish(clip_id, one.music, "done")

    def _send_audio(self, clip_id: str, work: Work, wave: Float[Tensor, "C _"], music: ProgressiveMusic) -> None:
        start = work.num_samples
        self._send(Message("audio", clip_id, {"start": start}, {"pcm": work.pcm(wave, music)}))

    def _choose(self, clip_id: str, work: Work) -> None:
        """Finds the best candidate, beside the steps, and leaves it in the inbox."""
        try:
            with own_settings():
                info = work.chosen(self._model.sample_rate_hz)
            fields = {"place": info.pop("place"), "info": info, "refusal": None}
        except Exception as error:
            fields = {"refusal": refusal_of(error)}
        self._inbox.put(Message("chosen", clip_id, fields))

    def _on_chosen(self, message: Message) -> None:
        work = self._works.get(message.clip_id)
        if work is None:  # cancelled meanwhile
            return
        if message.fields["refusal"] is not None:
            self._forget(message.clip_id)
            self._send(Message("failed", message.clip_id, {"refusal": message.fields["refusal"]}))
            return
        music = work.musics[message.fields["place"]]
        for wave in work.held[music]:
            self._send_audio(message.clip_id, work, wave, music)
        self._finish(message.clip_id, music, "done", message.fields["info"])

    def _finish(
        self, clip_id: str, music: ProgressiveMusic, kind: str, choice: Mapping[str, Any] | None = None
    ) -> None:
        """Sends the codes and the record of a clip, then what is measured of it.

        Args:
            choice: what the record says of the candidates among which it was chosen.
        """
        work = self._forget(clip_id)
        hop, lead_in = self._model.codec.codec.hop_samples, music.request.lead_in_samples
        num_samples = lead_in + work.num_samples
        payloads: dict[str, bytes] = {}
        if work.num_samples:
            codes = music.codes[:, : -(-num_samples // hop)]
            payloads["codes"] = codes_to_bytes(codes, replace(self._codes_header, num_samples=num_samples))
        info = {**self._model.record_of(music.request), **(choice or {})}
        self._send(Message(kind, clip_id, {"info": info}, payloads))
        if work.is_measured and work.num_samples:
            self._measuring.submit(self._measure, clip_id, b"".join(work.sent))

    def _measure(self, clip_id: str, pcm: bytes) -> None:
        clip = Clip(from_pcm16(pcm, self._model.num_channels), self._model.sample_rate_hz)
        try:
            with own_settings():
                measures = measured(clip)
        except Exception:
            _log.exception("clip %s cannot be measured", clip_id)
            measures = UNMEASURED
        self._send(Message("measured", clip_id, measures))

    def _fail(self, clip_id: str, error: Exception) -> None:
        self._send(Message("failed", clip_id, {"refusal": refusal_of(error)}))

    def _remove(self, musics: Iterable[ProgressiveMusic]) -> None:
        """Ends music early. An error of that is logged: the other clips go on."""
        for music in musics:
            try:
                self._batch.remove(music)
            except Exception:
                _log.exception("music could not be ended properly")

    def _forget(self, clip_id: str) -> Work:
        work = self._works.pop(clip_id)
        for music in work.musics:
            del self._ids[music]
        return work

    def _tell_alive(self) -> None:
        """Says now and then that steps are drawn, and how far each clip is."""
        now = time.monotonic()
        if now - self._told_alive >= ALIVE_EVERY_S:
            self._told_alive = now
            made = {clip_id: work.known_s for clip_id, work in self._works.items()}
            self._send(Message("alive", fields={"made_s": made}))
