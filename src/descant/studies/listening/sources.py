"""What a listening test is made from: the clips of all systems by prompt, the prompts' texts, and the melodies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from descant.errors import DataError, InvalidRequest, naming
from descant.studies.clip_folders import audio_by_name, description_beside, read_texts, tagged_text


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
    by_system = {system: audio_by_name(folder) for system, folder in systems.items()}
    everywhere = sorted(set.intersection(*map(set, by_system.values())))
    partial = sorted(set.union(*map(set, by_system.values())) - set(everywhere))
    if not everywhere:
        raise InvalidRequest(
            f"no file name is in all of {', '.join(repr(str(folder)) for folder in systems.values())}: give the clips "
            "of a prompt the same name in each folder"
        )
    melody_files = {} if melodies is None else _find_melodies(melodies, everywhere)
    files = {name: {system: found[name] for system, found in by_system.items()} for name in everywhere}
    texts = None if prompts is None else read_texts(prompts, everywhere)
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


def _find_melodies(folder: Path, names: list[str]) -> dict[str, Path]:
    with naming("melodies"):
        found = audio_by_name(folder)
        if not set(found) & set(names):
            raise InvalidRequest(f"no file in {str(folder)!r} has the name of a prompt, such as {names[0]!r}")
        return found


def _draw(names: list[str], count: int, seed: int) -> list[str]:
    if not 1 <= count <= len(names):
        raise InvalidRequest(f"num_prompts={count}: the folders have {len(names)} prompts in common")
    return sorted(Random(seed).sample(names, count))


def _text_of(name: str, files: Mapping[str, Path]) -> str:
    """The text in the tags or next to the audio; a single one, however many systems state it."""
    stated = {text for file in files.values() for text in [tagged_text(file) or _text_beside(file)] if text}
    if not stated:
        raise InvalidRequest(f"prompts: no text is known for {name!r}; list the texts in a file")
    if len(stated) > 1:
        first, second = sorted(stated)[:2]
        raise DataError(f"the files of {name!r} state different texts, {first!r:.60} and {second!r:.60}")
    return stated.pop()


def _text_beside(file: Path) -> str:
    return " ".join(description_beside(file).captions)
