"""The page on the real service with the starter: a first visit, and music within seconds."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descant.apps.server.config import engine_command
from tests.apps.server.conftest import Running
from tests.apps.server.paced_server import paced_config
from tests.apps.studio.conftest import Studio, eventually, real_time
from tests.apps.studio.pacer import RATE_HZ

AUDIBLE = 10 ** (-50 / 20)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    engine = engine_command("starter", "cpu", "auto", tmp_path)
    running = Running(replace(paced_config(tmp_path), engine=engine, model="starter"))
    try:
        yield running.wait_ready()
    finally:
        running.stop()


@real_time
def test_a_sentence_and_one_key_press_sound_within_three_seconds(service: Running, visit: Any) -> None:
    opened: Studio = visit(f"http://127.0.0.1:{service.port}")
    opened.open()
    opened.page.wait_for_selector("#prompt:focus")
    opened.page.keyboard.type("warm slow piano ballad")
    pressed_at = time.time()
    opened.page.keyboard.press("Control+Enter")
    eventually(opened.has_sound)
    eventually(lambda: (np.abs(opened.recording()) > AUDIBLE).any())
    heard = int(np.nonzero(np.abs(opened.recording()) > AUDIBLE)[0][0])
    sounded_at = opened.recording_began_at() + heard / RATE_HZ
    assert sounded_at - pressed_at <= 3
    job, *_ = service.client.get("/v1/jobs").json()["items"]
    opened.page.get_by_text("LUFS").wait_for()
    finished_at = service.job(job)["finished_at"]
    assert sounded_at < datetime.fromisoformat(finished_at).timestamp()
