"""``python -m starter_corpus``: what it writes, and that errors are one line."""

import pytest

from starter_corpus.__main__ import main


@pytest.mark.usefixtures("synthesizer", "programs")
def test_render_writes_a_manifest_and_continues(tmp_path, capsys):
    words = ["render", str(tmp_path), "--hours", "0.006", "--seed", "5", "--workers", "1"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert first == f"{tmp_path}/manifest.jsonl: 1 clips, 0.01 h\n"
    changed = {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio/*/*")}
    assert main(words) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("audio/*/*")} == changed


@pytest.mark.parametrize(
    "options",
    [
        *(("--hours", hours) for hours in ("0", "-1", "nan", "inf", "1e9")),
        *(("--hours", "1", "--workers", workers) for workers in ("0", "257")),
    ],
    ids=" ".join,
)
def test_hours_and_workers_out_of_range_are_refused_in_one_line(options, tmp_path, capsys):
    assert main(["render", str(tmp_path / "corpus"), *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if "error: hours=" in line]) == 1
    assert "Traceback" not in "".join(lines)
    assert not (tmp_path / "corpus").exists()


def test_a_report_without_a_manifest_is_refused_in_one_line(tmp_path, capsys):
    assert main(["melody-report", "tiny", str(tmp_path / "m.jsonl"), str(tmp_path / "out")]) == 2
    assert "starter_corpus: error: cannot read the manifest" in capsys.readouterr().err
