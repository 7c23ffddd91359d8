"""``serve keys`` and ``serve export``."""

import json
from pathlib import Path

import pytest
import soundfile

from descant.apps.cli.main import main
from tests.apps.server.conftest import serving
from tests.apps.server.paced_engine import RATE_HZ, pcm_of


def test_every_exported_file_has_its_own_recipe_beside_it_however_often(tmp_path, capsys):
    """A second export, in another format, once wrote the recipe of ``a.wav`` as ``a-2.json``, and a third mixed all."""
    with serving(tmp_path / "data", pace=1_000.0) as server:
        clips = [server.clip(duration_s=0.2, seed=seed, text="same") for seed in (1, 2)]
        dropped = server.clip(duration_s=0.2, seed=3)
    (tmp_path / "data" / "clips").joinpath(*server.service.files.audio(dropped["id"]).parts[-2:]).unlink()
    files = []
    for format in ("flac", "wav", "flac", "wav"):
        words = ("serve", "export", str(tmp_path / "all"), "--data", str(tmp_path / "data"), "--format", format)
        assert main([*words, "--json"]) == 0, capsys.readouterr()
        files += [Path(file) for file in json.loads(capsys.readouterr().out)["files"]]
    assert len(set(files)) == 8
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        name for file in files for name in (file.name, f"{file.stem}.json")
    }
    assert len({file.stem for file in files}) == 8
    for number, file in enumerate(files):
        assert json.loads(file.with_suffix(".json").read_text())["clip_id"] == clips[number % 2]["id"]
        assert soundfile.read(file, dtype="int16")[0].tobytes() == pcm_of(number % 2 + 1, [], RATE_HZ // 5)
    assert not list((tmp_path / "data" / "cache").iterdir())


def test_keys_are_made_listed_and_revoked(tmp_path, capsys):
    data = ("--data", str(tmp_path), "--json")
    assert main(["serve", "keys", "add", "phone", "--scope", "read,listen", *data]) == 0
    token = json.loads(capsys.readouterr().out)["token"]
    assert main(["serve", "keys", "list", *data]) == 0
    listed = capsys.readouterr().out
    assert token not in listed
    assert json.loads(listed)["keys"][0]["scopes"] == ["read", "listen"]
    assert main(["serve", "keys", "add", "phone", *data]) == 2
    for scope in ("write", "", "read,"):
        assert main(["serve", "keys", "add", "tv", "--scope", scope, *data]) == 2
    assert main(["serve", "keys", "revoke", "phone", *data]) == 0
    assert main(["serve", "keys", "revoke", "phone", *data]) == 2


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, "\x1b[2J"])
def test_names_of_keys_can_be_shown_on_a_line(tmp_path, capsys, name):
    assert main(["serve", "keys", "add", name, "--data", str(tmp_path)]) == 2
    assert "NAME" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_scope_that_is_given_twice_is_one(tmp_path, capsys):
    assert main(["serve", "keys", "add", "phone", "--scope", "read,read", "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scopes"] == ["read"]


GOOD_KEY = {"id": "key_1", "name": "a", "sha256": "0" * 64, "scopes": ["read"], "created_at": "2026-12-01T00:00:00Z"}


@pytest.mark.parametrize(
    "entry",
    [1, {}, *({**GOOD_KEY, **change} for change in (
        {"scopes": "read"}, {"scopes": ["all"]}, {"scopes": [["read"]]}, {"created_at": 3}, {"sha256": None},
        {"revoked_at": True}, {"more": 1},
    ))],
)  # fmt: skip
def test_a_file_that_holds_no_keys_is_one_line_and_stays(tmp_path, capsys, entry):
    """A number where a time should be was once called a bug of ours."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [GOOD_KEY, entry]}))
    before = file.read_bytes()
    for words in (["list"], ["add", "b"], ["revoke", "a"]):
        assert main(["serve", "keys", *words, "--keys", str(file)]) == 3
        assert "is not a file of keys" in capsys.readouterr().err
    assert file.read_bytes() == before
