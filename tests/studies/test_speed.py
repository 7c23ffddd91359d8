"""How speed is measured."""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import descant
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.runtimes import EagerRuntime
from descant.lm.model import MusicLM
from descant.presets import PRESETS
from descant.studies.speed import decoding, fresh_process, machine, training, untrained
from descant.studies.speed.busy import busy_processes, with_busy
from descant.studies.speed.codec import codec_speed
from descant.studies.speed.curves import CURVES, decode_curve
from descant.studies.speed.decoding import decode_speed
from descant.studies.speed.timing import measure
from descant.studies.speed.training import train_speed
from descant.studies.speed.transformers_models import TransformersCodec, TransformersMusicGen


@pytest.fixture(autouse=True)
def small_ceiling(monkeypatch):
    monkeypatch.setattr(machine, "COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr(machine, "PRODUCT_SIZE", {"cpu": 64})


@pytest.fixture(scope="module")
def tiny():
    return descant.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def odd(transformers_model):
    """A model that transformers has too; its codec makes 1000 frames a second."""
    return descant.load(transformers_model("odd").folder, device="cpu")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_step_reads_every_weight_but_the_embeddings():
    lm = MusicLM(PRESETS["tiny"]().lm)
    embeddings = sum(parameter.numel() for parameter in lm.embeddings.parameters())
    expected = 4 * (sum(parameter.numel() for parameter in lm.parameters()) - embeddings)
    assert EagerRuntime(lm).bytes_per_step() == expected
    assert EagerRuntime(lm.to(torch.bfloat16)).bytes_per_step() == expected / 2


def test_arithmetic_is_counted_as_two_operations_a_product():
    a = torch.ones(3, 5)
    assert machine.count_flops(lambda: a @ a.T) == 2 * 3 * 5 * 3


def test_shares_of_the_ceiling_are_what_the_other_numbers_say(tiny):
    result = decode_speed(tiny, 0.2, repeats=1)
    assert result["ceiling_steps_per_s"] * result["share_of_ceiling"] == pytest.approx(result["steps_per_s"])
    assert result["real_time_factor"] == pytest.approx(result["seconds"] / 0.2)
    assert torch.backends.cpu.get_cpu_capability() in result["processor"]
    assert len(result["processor"]) > 10
    assert result["ms_per_step"] * result["steps_per_s"] == pytest.approx(1_000)


def test_measurements_take_turns_and_a_ratio_is_taken_within_a_turn():
    """A machine that becomes ten times slower changes the seconds and not the ratio."""
    calls = []

    def taking(name, seconds):
        seconds = iter(seconds)

        def measurement():
            calls.append(name)
            return {"seconds": next(seconds)}

        return measurement

    result = measure(taking("own", [1.0, 10.0, 2.0]), {"other": taking("other", [3.0, 30.0, 8.0])}, repeats=3)
    assert calls == ["own", "other"] * 3
    assert (result["seconds"], result["seconds_min"], result["seconds_max"]) == (2, 1, 10)
    assert result["other_seconds"] == 8
    ratios = [result[f"other_seconds_ratio{part}"] for part in ("", "_min", "_max")]
    assert ratios == [3, 3, 4]


def test_a_step_is_timed_without_the_first_one(monkeypatch):
    """The first reads the prompt too."""
    times = iter([100.0, 100.5, 102.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = decoding.StepClock(torch.device("cpu"), every=3)
    for done in range(1, 6):
        clock(done, 5)
    assert clock.times == [(1, 100.0), (3, 100.5), (5, 102.0)]
    assert clock.ms_per_step == 500


def test_steps_that_end_several_at_a_time_count_for_each_request(monkeypatch):
    times = iter([100.0, 101.0, 102.0, 103.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = decoding.StepClock(torch.device("cpu"), every=10, count=2)
    for done in (2, 18, 34, 50, 60):
        clock(done, 60)
    assert clock.times == [(1, 100.0), (17, 101.0), (25, 102.0), (30, 103.0)]
    assert clock.ms_per_step == pytest.approx(3_000 / 29)


@pytest.mark.parametrize("stop", [None, ValueError, KeyboardInterrupt])
def test_busy_processes_are_gone_after_the_block(stop):
    pids = []

    def work():
        with busy_processes(2) as started:
            pids.extend(started)
            assert all(map(is_running, started))
            if stop is not None:
                raise stop

    if stop is None:
        work()
    else:
        with pytest.raises(stop):
            work()
    assert len(pids) == 2
    assert not any(map(is_running, pids))


def test_busy_processes_compute():
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu_seconds(pid):
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13])) / ticks

    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    with busy_processes(1) as (pid,):
        before = cpu_seconds(pid)
        deadline = time.monotonic() + 20
        while cpu_seconds(pid) < before + 0.1:
            assert time.monotonic() < deadline


def test_busy_processes_end_where_their_parent_is_killed():
    program = (
        "from descant.studies.speed.busy import busy_processes\n"
        "import os, signal\n"
        "with busy_processes(1) as (pid,):\n"
        "    print(pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 20
    while is_running(int(done.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_measurement_is_taken_while_the_others_are_busy(monkeypatch):
    running = []
    monkeypatch.setattr("descant.studies.speed.busy.subprocess.Popen", watched(running))
    assert with_busy(2, lambda: {"seconds": float(sum(map(is_running, running)))})() == {"seconds": 2}
    assert not any(map(is_running, running))


def watched(pids):
    popen = subprocess.Popen

    def start(*args, **settings):
        process = popen(*args, **settings)
        pids.append(process.pid)
        return process

    return start


def test_several_requests_are_compared_with_one_alone(tiny):
    result = decode_speed(tiny, 0.1, repeats=1, count=3)
    assert result["audio_s"] == pytest.approx(0.3)
    assert result["real_time_factor"] == pytest.approx(result["seconds"] / 0.3)
    assert result["throughput_ratio"] == pytest.approx(3 * result["alone_seconds"] / result["seconds"])


def test_every_kind_is_measured_with_busy_processes(tiny):
    for result in (
        decode_speed(tiny, 0.1, repeats=1, num_busy=1),
        codec_speed(tiny, 0.1, repeats=1, num_busy=1),
        train_speed(tiny, 0.1, batch_size=1, repeats=1, num_busy=1),
    ):
        name = "encode_seconds" if result["what"] == "codec" else "seconds"
        assert result[f"busy_{name}_ratio"] == pytest.approx(result[f"busy_{name}"] / result[name])
        assert result["num_busy"] == 1


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16)])
def test_an_update_is_measured_in_the_precision_that_it_names(tiny, monkeypatch, precision, dtype):
    """It was float32, whatever it was called."""
    computed = []
    loss = training._loss

    def noted(*inputs):
        computed.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return loss(*inputs)

    monkeypatch.setattr(training, "_loss", noted)
    assert train_speed(tiny, 0.1, batch_size=1, repeats=1, precision=precision)["precision"] == precision
    assert set(computed) == {dtype}


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_has_points_with_their_spread(tiny, curve):
    result = decode_curve(tiny, curve, 0.5, repeats=2, count=3)
    assert result["what"] == f"decode by {curve}"
    points = result["points"]
    places = [point["duration_s" if curve == "duration" else curve] for point in points]
    assert places == sorted(set(places))
    expected = {"steps": [1.5, 2.5], "duration": [0.1, 0.2], "count": [1, 2, 3]}[curve]
    assert places[: len(expected)] == pytest.approx(expected)
    value = "ms_per_step" if curve == "steps" else "seconds"
    assert all(0 < point[f"{value}_min"] <= point[value] <= point[f"{value}_max"] for point in points)
    if curve == "count":
        assert points[0]["throughput_ratio"] == 1


def test_the_curve_over_steps_covers_the_cache(tiny):
    """All but the last segment, in twenty to thirty of them: up to eight steps end at once."""
    points = decode_curve(tiny, "steps", 4.0, repeats=1)["points"]
    lengths = [point["steps"] for point in points]
    assert 20 <= len(points) <= 34
    assert lengths[0] < 10
    assert lengths[-1] > 185
    assert all(6 <= second - first <= 12 for first, second in itertools.pairwise(lengths[1:]))


def test_greedy_codes_are_compared_with_those_of_transformers(odd):
    result = decode_speed(odd, 0.02, repeats=1, against_transformers=True)
    assert (result["greedy_codes_equal"], result["greedy_frames_equal"], result["greedy_frames"]) == (True, 20, 20)
    assert result["transformers_seconds_ratio"] == result["transformers_seconds"] / result["seconds"]
    assert "peak_memory_bytes" not in result


def test_one_broken_weight_of_theirs_is_seen_in_the_codes(odd, monkeypatch):
    third = int(decoding.warm_up(odd, 0.02)[0, 2])
    build = TransformersMusicGen.__init__

    def build_and_break(self, model):
        build(self, model)
        with torch.no_grad():
            self._network.decoder.lm_heads[0].weight[third] = 0.0

    monkeypatch.setattr(TransformersMusicGen, "__init__", build_and_break)
    result = decode_speed(odd, 0.02, repeats=1, against_transformers=True)
    assert not result["greedy_codes_equal"]
    assert result["greedy_frames_equal"] <= 2


def test_the_codes_of_theirs_are_those_of_stereo_models_too(transformers_model):
    model = descant.load(transformers_model("stereo").folder, device="cpu")
    ours = decoding.warm_up(model, 0.012)
    assert torch.equal(TransformersMusicGen(model).greedy_codes(decoding.PROMPT, ours.shape[1]), ours)


def test_our_codec_is_compared_with_transformers(odd, monkeypatch):
    result = codec_speed(odd, 0.02, repeats=1, against_transformers=True)
    assert result["equal_codes_share"] == 1
    assert result["transformers_encode_seconds_ratio"] > 0
    encode = TransformersCodec.encode
    monkeypatch.setattr(TransformersCodec, "encode", lambda self, wave: encode(self, wave.flip(-1)))
    assert codec_speed(odd, 0.02, repeats=1, against_transformers=True)["equal_codes_share"] < 1


def test_a_model_that_transformers_has_not_is_refused(tiny):
    with pytest.raises(InvalidRequest, match="T5 text encoder, this model SmallTextEncoder"):
        decode_speed(tiny, 0.1, repeats=1, against_transformers=True)


def test_an_untrained_model_is_the_same_every_time_and_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    first, second = (untrained.untrained("tiny", device="cpu") for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.fingerprint == second.fingerprint
    assert first.name == "tiny, random weights"
    assert untrained.untrained("tiny", device="cpu", precision="bf16").precision == "bf16"


def test_an_untrained_released_shape_is_measured_against_transformers(monkeypatch):
    """The shape of ``odd``, but with a T5 and a tokenizer that nothing was downloaded for."""
    pytest.importorskip("transformers", reason="transformers")
    small_t5 = {"vocab_size": 10, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    monkeypatch.setattr(untrained, "T5_BASE", small_t5)
    shape = replace(PRESETS["tiny"](), text=T5Text(dim=8))
    monkeypatch.setitem(untrained.PRESETS, "small", lambda: shape)
    result = decode_speed(untrained.untrained("small", device="cpu"), 0.2, repeats=1, against_transformers=True)
    assert result["greedy_codes_equal"]
    assert result["model"] == "small, random weights"


def test_an_unknown_preset_is_refused():
    with pytest.raises(InvalidRequest, match="untrained='huge': allowed are tiny"):
        untrained.untrained("huge")


def test_a_process_that_fails_says_why(tmp_path):
    with pytest.raises(CheckpointError, match=r"a process that was measured failed: .*no such model"):
        fresh_process.load_speed(str(tmp_path / "nosuch"), "cpu", "auto", repeats=1)
    options = ["--model", str(tmp_path / "nosuch")]
    for run in (fresh_process._first_sound_seconds, fresh_process._command_seconds):
        with pytest.raises(CheckpointError, match="no such model"):
            run(options)


def test_the_stages_of_a_cold_start_follow_each_other():
    result = fresh_process.cold_start_speed("tiny", "cpu", "auto", repeats=1)
    assert 0 < result["import_seconds"] < result["load_seconds"] < result["first_step_seconds"]
    assert result["first_sound_seconds"] > 0
    assert result["command_seconds"] > 0
    assert (result["model"], result["device"], result["precision"]) == ("tiny", "cpu", "fp32")


def test_loading_is_measured_with_the_memory_of_its_own_process():
    block = bytearray(b"1") * 2**29  # of this process, and so not of the other
    result = fresh_process.load_speed("tiny", "cpu", "auto", repeats=1)
    assert result["seconds"] > 0
    assert 2**26 < result["peak_memory_bytes"] < machine.peak_resident_bytes() - len(block) / 2


def test_a_model_with_rounded_weights_is_compared_with_transformers_whole_ones(transformers_model):
    folder = transformers_model("odd").folder
    rounded, whole = (descant.load(folder, device="cpu", precision=precision) for precision in ("int8", "fp32"))
    result = decode_speed(rounded, 0.02, repeats=1, against_transformers=True, whole=whole)
    assert result["precision"] == "int8"
    assert result["transformers_seconds"] > 0


def test_processes_that_are_measured_may_keep_their_bytecode(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("KEPT", "1")
    environ = fresh_process._environ()
    assert "PYTHONDONTWRITEBYTECODE" not in environ
    assert environ["KEPT"] == "1"
