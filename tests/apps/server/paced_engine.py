"""An engine for tests that plays a known signal at a chosen pace, and stalls or dies where the text of a request says.

The signal is a sine whose pitch rises by a semitone every second, with a click at each half second; its lowest pitch
follows the seed and the number of sections that have begun. Words of a text say how it is played: ``[pace 0.5]`` in
seconds of audio per second; and at which second this clip stops for good (``[stall 3]``) or fails (``[fail 3]``), or
the engine says nothing any more (``[hang 3]``) or dies, the first time only (``[die 3]``) or always
(``[die-always 3]``). A request with ``[refuse]`` is refused when it is checked, and one
with ``[choose]`` has chords chosen. Another precision than fp32 gives the signal of the next seed.
"""

import argparse
import json
import math
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save

from descant.apps.server.engine.__main__ import own_stdout, receive, sender
from descant.apps.server.engine.messages import Message

RATE_HZ, FRAME_RATE_HZ, HOP = 32_000, 50, 640
CLICK_EVERY_S, CLICK_SAMPLES = 0.5, 64
ENTRIES, NUM_CODEBOOKS = 1_024, 4


def signal_of(seed: int, sections: list[Mapping[str, Any]], num_samples: int) -> Float[np.ndarray, " N"]:
    """The samples that a clip of this seed and these sections has."""
    seconds = np.arange(num_samples) / RATE_HZ
    begun = sum((seconds >= section["start_s"] for section in sections), np.zeros(num_samples))
    pitch_hz = 220 * 2 ** ((seed % 12 + np.floor(seconds) % 12 + 7 * begun) / 12)
    samples = 0.4 * np.sin(2 * math.pi * np.cumsum(pitch_hz) / RATE_HZ)
    period = round(CLICK_EVERY_S * RATE_HZ)
    samples[np.arange(num_samples) % period < CLICK_SAMPLES] = 0.7
    return samples


def pcm_of(seed: int, sections: list[Mapping[str, Any]], num_samples: int) -> bytes:
    """The same as 16-bit integers."""
    return (signal_of(seed, sections, num_samples) * 2**15).round().astype("<i2").tobytes()


def codes_of(seed: int, num_frames: int) -> np.ndarray:
    """Codes that tell clips and frames apart."""
    return (np.arange(num_frames) * 7 + seed + np.arange(NUM_CODEBOOKS)[:, None]) % ENTRIES


def given_chords(request: Mapping[str, Any]) -> str | None:
    """The chords of a request; this engine chooses its own where they are open and the text asks for it."""
    if request["chords"] not in ("auto", "none", None):
        return str(request["chords"])
    return "Am:0.0 F:0.5" if "[choose]" in (request["text"] or "") else None


@dataclass
class Work:
    """A clip in the making."""

    request: dict[str, Any]
    attempt: int
    began: float
    pcm: bytes
    num_sent: int = 0

    def word(self, name: str) -> float | None:
        """The number of a word such as ``[stall 3]`` in the text or in those of the sections."""
        texts = (self.request["text"] or "", *(section["text"] for section in self.request["sections"]))
        found = re.search(rf"\[{name} ([\d.]+)\]", " ".join(texts))
        return None if found is None else float(found.group(1))

    @property
    def num_samples(self) -> int:
        return len(self.pcm) // 2


class PacedEngine:
    """Plays up to any number of clips at once."""

    def __init__(
        self,
        send: Callable[[Message], None],
        inbox: "queue.Queue[Message | None]",
        pace: float,
        chunk_s: float,
        precision: str,
    ):
        self._send, self._inbox, self._pace, self._chunk_s = send, inbox, pace, chunk_s
        self._detune = precision != MODEL["precision"]
        self._works: dict[str, Work] = {}

    def run(self) -> None:
        """Works until the pipe ends."""
        while self._receive():
            for clip_id, work in list(self._works.items()):
                self._advance(clip_id, work)

    def _receive(self) -> bool:
        until = time.monotonic() + min(self._chunk_s / 4, 0.02)
        while (left := until - time.monotonic()) > 0 or not self._works:
            try:
                message = self._inbox.get(timeout=max(left, 0.001) if self._works else None)
            except queue.Empty:
                return True
            if message is None:
                return False
            actions = {"make": self._make, "check": self._check, "change": self._change, "cancel": self._cancel}
            actions[message.kind](message)
        return True

    def _check(self, message: Message) -> None:
        request = message.fields["request"]
        texts = [request["text"] or "", *(section["text"] for section in request["sections"])]
        refused = {"error": "InvalidRequest", "detail": "text: the test engine refuses it"}
        refusal = refused if any("[refuse]" in text for text in texts) else None
        self._send(Message("answer", fields={"question": message.fields["question"], "refusal": refusal}))

    def _make(self, message: Message) -> None:
        request, now = message.fields["request"], time.monotonic()
        num_samples = round(request["duration_s"] * RATE_HZ)
        pcm = pcm_of(request["seed"] + self._detune, request["sections"], num_samples)
        self._works[message.clip_id] = Work(request, message.fields["attempt"], now, pcm)
        fields = {"num_samples": num_samples, "sample_rate_hz": RATE_HZ, "channels": 1, "tempo_bpm": 120.0, "key": None}
        fields |= {"chords": given_chords(request)}
        self._send(Message("begun", message.clip_id, fields))

    def _change(self, message: Message) -> None:
        work = self._works.get(message.clip_id)
        sections = message.fields["sections"]
        answer = {"question": message.fields["question"], "refusal": None, "sections": sections, "too_late": None}
        made_s = 0.0 if work is None else work.num_sent / RATE_HZ
        if work is None:
            answer["too_late"] = "this clip is not being made"
        elif sections and sections[0]["start_s"] < made_s:
            answer["too_late"] = f"timeline: second {sections[0]['start_s']:g} has been generated"
        if work is None or answer["too_late"] is not None:
            self._send(Message("answer", message.clip_id, answer))
            return
        begun = [section for section in work.request["sections"] if section["start_s"] < made_s]
        work.request["sections"] = [*begun, *sections]
        sent = work.pcm[: 2 * work.num_sent]
        work.pcm = sent + pcm_of(work.request["seed"], work.request["sections"], work.num_samples)[len(sent) :]
        self._send(Message("answer", message.clip_id, {**answer, "sections": work.request["sections"]}))

    def _cancel(self, message: Message) -> None:
        if message.clip_id in self._works:
            self._finish(message.clip_id, "stopped")
        else:
            self._send(Message("stopped", message.clip_id, {"info": None}))

    def _advance(self, clip_id: str, work: Work) -> None:
        pace = work.word("pace") or self._pace
        due = min(round((time.monotonic() - work.began) * pace * RATE_HZ), work.num_samples)
        fault = None
        for name in ("stall", "hang", "die", "die-always", "fail"):
            at_s = None if name == "die" and work.attempt > 1 else work.word(name)
            if at_s is not None and due >= round(at_s * RATE_HZ):
                due, fault = round(at_s * RATE_HZ), name
        chunk = round(self._chunk_s * RATE_HZ)
        while work.num_sent < due and (due - work.num_sent >= chunk or due == work.num_samples or fault):
            end = min(work.num_sent + chunk, due)
            content = work.pcm[2 * work.num_sent : 2 * end]
            self._send(Message("audio", clip_id, {"start": work.num_sent}, {"pcm": content}))
            work.num_sent = end
        if fault not in (None, "stall"):
            self._misbehave(fault, clip_id)
            return
        self._send(Message("alive", fields={"made_s": {clip_id: due / RATE_HZ}}))
        if work.num_sent == work.num_samples:
            self._finish(clip_id, "done")

    def _misbehave(self, name: str, clip_id: str) -> None:
        if name == "fail":
            del self._works[clip_id]
            self._send(Message("failed", clip_id, {"refusal": {"error": None, "detail": "it gave up"}}))
        if name == "hang":
            time.sleep(3_600)
        if name in ("die", "die-always"):
            sys.stderr.write("the test engine dies\n")
            sys.stderr.flush()
            os._exit(9)

    def _finish(self, clip_id: str, kind: str) -> None:
        work = self._works.pop(clip_id)
        request = work.request
        num_frames = -(-work.num_sent // HOP)
        info = {"text": request["text"], "seed": request["seed"], "model": "paced", "sampling": {}, "guidance": {}}
        info |= {
            "duration_s": request["duration_s"],
            "timeline": [[s["start_s"], s["text"]] for s in request["sections"]],
        }
        info |= {"negative_text": request["negative_text"], "prompt_codes": None, "chords": given_chords(request)}
        payloads = {}
        if work.num_sent:
            header = {**CODEC, "num_samples": work.num_sent}
            codes = codes_of(request["seed"], num_frames).astype(np.int32)
            payloads["codes"] = save({"codes": codes}, metadata={"descant_codes": json.dumps(header)})
        self._send(Message(kind, clip_id, {"info": info}, payloads))
        measures = {"tempo_bpm": 120.0, "tempo_confidence": 0.9, "key": "A minor", "key_confidence": 0.5}
        self._send(Message("measured", clip_id, {**measures, "loudness_lufs": -14.0, "true_peak_db": -3.1}))


CODEC = {
    "model": "paced",
    "codec_fingerprint": "paced",
    "sample_rate_hz": RATE_HZ,
    "num_channels": 1,
    "num_codebooks": NUM_CODEBOOKS,
    "codebook_size": ENTRIES,
    "hop_samples": HOP,
}
MODEL = {
    "id": "paced",
    "loaded": True,
    "fingerprint": "paced",
    "sample_rate_hz": RATE_HZ,
    "channels": 1,
    "frame_rate_hz": FRAME_RATE_HZ,
    "trained_s": 10.0,
    "can": dict.fromkeys(
        ("text", "negative_text", "melody", "chords", "tempo_key", "continue_from", "sections", "loop"), True
    )
    | {"style": False},
    "cannot": {"style": "the test engine imitates no styles"},
    "defaults": {
        "sampling": {"temperature": 1.0, "top_k": 250, "top_p": 1.0, "greedy": False},
        "guidance": {"scale": 3.0, "text_scale": None, "melody_scale": None, "schedule": []},
    },
    "device": "cpu",
    "precision": "fp32",
}


def play(
    inbox: "queue.Queue[Message | None]",
    send: Callable[[Message], None],
    *,
    pace: float,
    chunk_s: float,
    load_s: float,
    precision: str = "fp32",
) -> None:
    """Works until the server ends it; for a replica or a process."""
    time.sleep(load_s)
    send(Message("ready", fields={**MODEL, "precision": precision}))
    PacedEngine(send, inbox, pace, chunk_s, precision).run()


def main() -> None:
    """Works until the server closes the pipe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pace", type=float, default=1.0)
    parser.add_argument("--chunk-s", type=float, default=0.2)
    parser.add_argument("--load-s", type=float, default=0.0)
    parser.add_argument("--precision", default=MODEL["precision"])
    arguments = parser.parse_args()
    send = sender(own_stdout())
    inbox: queue.Queue[Message | None] = queue.Queue()

    threading.Thread(target=receive, args=(inbox,), daemon=True).start()
    played = {name: getattr(arguments, name) for name in ("pace", "chunk_s", "load_s", "precision")}
    play(inbox, send, **played)


if __name__ == "__main__":
    main()
