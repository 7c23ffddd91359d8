"""What a listening test is made from: the clips of all systems by prompt, the prompts' texts, and the melodies."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from descant.audio import read_info
from descant.data.folders import list_folder
from descant.errors import DataError, InvalidRequest, naming

_SEED_IN_NAME = re.compile(r"-seed\d+(?=-|$)")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One prompt with the file of each system, and perhaps the melody that they were to follow."""

    prompt: str
    text: str
    files: Mapping[str, Path]
    melody: Path | None


def find_trials(
    systems: Mapping[str, Path],
    *,
    prompts: Path | None = None,
    melodies: Path | None = None,
    num_prompts: int | None = None,
    seed: int = 0,
) -> tuple[list[Trial], list[str]]:
    """The prompts that all systems have, in order of their names, and the names that only some have.

    Files belong together if their paths within the folders agree, apart from the suffix and from the seed that
    ``descant generate`` writes into names.

    Args:
        prompts: a JSON object from names to texts, or a text file with one line per name, in their order. Without it
            texts come from tags, or from text files next to the audio.
        melodies: a folder of melodies under the same names; not every prompt needs one.
        num_prompts: how many to draw, by default all.

    Raises:
        InvalidRequest: fewer than two systems, no common prompts or fewer than asked for, or a prompt without text.
        DataError: a folder has two files of one name, the texts of two systems differ, or ``prompts`` is broken.
    """
    if len(systems) < 2:
        raise InvalidRequest(f"{len(systems)} folder: a listening test compares two or more")
    by_system = {system: _audio_by_name(folder) for system, folder in systems.items()}
    everywhere = sorted(set.intersection(*map(set, by_system.values())))
    partial = sorted(set.union(*map(set, by_system.values())) - set(everywhere))
    if not everywhere:
        raise InvalidRequest(
            f"no file name is in all of {', '.join(repr(str(folder)) for folder in systems.values())}: give the clips "
            "of a prompt the same name in each folder"
        )
    melody_files = {} if melodies is None else _find_melodies(melodies, everywhere)
    files = {name: {system: found[name] for system, found in by_system.items()} for name in everywhere}
    texts = None if prompts is None else _read_texts(prompts, everywhere)
    chosen = everywhere if num_prompts is None else _draw(everywhere, num_prompts, seed)
    return [
        Trial(
            prompt=name,
            text=_text_of(name, files[name]) if texts is None else texts[name],
            files=files[name],
            melody=melody_files.get(name),
        )
        for name in chosen
    ], partial


def _audio_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    found: dict[str, Path] = {}
    for file in list_folder(folder).audio:
        inner = file.relative_to(folder)
        name = inner.with_name(_SEED_IN_NAME.sub("", inner.stem) or inner.stem).as_posix()
        if name in found:
            raise DataError(f"{str(file)!r} and {str(found[name])!r} are both clips of {name!r}; keep one of them")
        found[name] = file
    return found


def _find_melodies(folder: Path, names: list[str]) -> dict[str, Path]:
    with naming("melodies"):
        found = _audio_by_name(folder)
        if not set(found) & set(names):
            raise InvalidRequest(f"no file in {str(folder)!r} has the name of a prompt, such as {names[0]!r}")
        return found


def _draw(names: list[str], count: int, seed: int) -> list[str]:
    if not 1 <= count <= len(names):
        raise InvalidRequest(f"num_prompts={count}: the folders have {len(names)} prompts in common")
    return sorted(Random(seed).sample(names, count))


def _read_texts(file: Path, names: list[str]) -> dict[str, str]:
    try:
        content = file.read_text(encoding="utf-8")
        if file.suffix.lower() != ".json":
            lines = [line.strip() for line in content.splitlines() if line.strip()]
            if len(lines) != len(names):
                raise DataError(
                    f"{str(file)!r} has {len(lines)} lines for {len(names)} prompts; one line each is needed"
                )
            return dict(zip(names, lines, strict=True))
        texts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(file)!r}: not a file of texts ({error})") from error
    except OSError as error:
        raise DataError(f"{str(file)!r}: {error.strerror}") from error
    if not isinstance(texts, dict):
        raise DataError(f"{str(file)!r}: expected an object from names to texts")
    missing = [name for name in names if not isinstance(texts.get(name), str) or not texts[name].strip()]
    if missing:
        raise DataError(f"{str(file)!r} has no text for {missing[0]!r}, and {len(missing)} are missing in all")
    return {name: texts[name].strip() for name in names}


def _text_of(name: str, files: Mapping[str, Path]) -> str:
    """The text in the tags or next to the audio; a single one, however many systems state it."""
    stated = {text for file in files.values() for text in [_tagged(file) or _sidecar(file)] if text}
    if not stated:
        raise InvalidRequest(f"prompts: no text is known for {name!r}; list the texts in a file")
    if len(stated) > 1:
        first, second = sorted(stated)[:2]
        raise DataError(f"the files of {name!r} state different texts, {first!r:.60} and {second!r:.60}")
    return stated.pop()


def _tagged(file: Path) -> str:
    text = read_info(file).get("text")
    return text.strip() if isinstance(text, str) else ""


def _sidecar(file: Path) -> str:
    beside = file.with_suffix(".txt")
    return " ".join(beside.read_text(encoding="utf-8").split()) if beside.is_file() else ""
