"""``descant listen``: from two folders to a page, and from answers to a table."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def systems(folder, made) -> tuple[str, str]:
    """Two folders with two prompts each."""
    for system in ("ours", "theirs"):
        (folder / system).mkdir()
        for number in (1, 2):
            name = f"000{number}-seed{len(system)}-a-drum.wav"
            (folder / system / name).write_bytes((made / "made.wav").read_bytes())
    return "ours=ours", "theirs=theirs"


def answer_all(listener: str) -> str:
    """Writes a listener's file: ours is 70, theirs 40, noise 5."""
    key = json.loads(Path("test/key.json").read_text())
    rating = {"ours": 70, "theirs": 40}
    answers = [
        {"clip": clip["name"], "overall": value, "relevance": value, "plays": 1}
        for clip in key["clips"]
        for value in [5 if clip["role"] == "anchor" else rating[clip["system"]]]
    ]
    Path(f"{listener}.json").write_text(
        json.dumps({"version": 1, "test": key["test"], "listener": listener, "answers": answers})
    )
    return f"{listener}.json"


def test_a_test_is_built_and_its_answers_are_analysed(run, systems):
    outcome = run("listen", "build", "test", *systems, "--json")
    assert outcome.code == 0, outcome.err
    built = json.loads(outcome.out)
    assert (built["num_prompts"], built["num_clips"], built["left_out"]) == (2, 7, [])
    assert Path(built["page"]).is_file()
    assert Path(built["key"]).is_file()

    files = [answer_all("anna"), answer_all("boris")]
    outcome = run("listen", "results", "test", *files, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    means = {(score["scale"], score["system"]): score["mean"]["value"] for score in result["scores"]}
    assert means == {(scale, name): value for scale in ("overall", "relevance") for name, value in EXPECTED.items()}
    assert result["differences"][0]["estimate"]["value"] == 30
    table = run("listen", "results", "test", *files, "--keep-all")
    assert "| overall quality (OVL) | ours | 70 [70, 70] |" in table.out


EXPECTED = {"ours": 70, "theirs": 40}


def test_mistakes_are_one_line_and_leave_nothing(refused, systems):
    assert "two or more" in refused(2, "listen", "build", "test", systems[0])
    assert "given twice" in refused(2, "listen", "build", "test", systems[0], "ours=theirs")
    assert "expected NAME=FOLDER" in refused(2, "listen", "build", "test", "ours", "theirs")
    assert "not a folder" in refused(3, "listen", "build", "test", systems[0], "theirs=no")
    assert "holds something else" in refused(3, "listen", "build", "ours", *systems)
    assert "holds no key.json" in refused(3, "listen", "results", "ours", "no.json")


def test_answers_that_cannot_be_read_are_one_line(run, refused, systems):
    assert run("listen", "build", "test", *systems).code == 0
    Path("broken.json").write_text("{")
    assert "broken.json" in refused(3, "listen", "results", "test", "broken.json")
    assert "no.json" in refused(3, "listen", "results", "test", "no.json")


def test_the_way_out_is_an_option_when_nobody_is_left(run, refused, systems):
    assert run("listen", "build", "test", *systems).code == 0
    file = Path(answer_all("anna"))
    file.write_text(file.read_text().replace('"overall": 5,', '"overall": 99,'))
    assert "--keep-all uses their ratings" in refused(2, "listen", "results", "test", "anna.json")
