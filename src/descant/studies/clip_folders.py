"""Folders of clips, by any system: their names, and the texts that they were made from."""

import json
import re
from pathlib import Path

from descant.audio import read_info
from descant.data.folders import list_folder
from descant.data.sidecars import Description, read_json_sidecar, read_table, read_text_sidecar
from descant.errors import DataError

TABLE_SUFFIXES = (".csv", ".jsonl")
_SEED_IN_NAME = re.compile(r"-seed\d+(?=-|$)")


def audio_by_name(folder: Path) -> dict[str, Path]:
    """The audio files below a folder by name: the path without the suffix and the seed of ``descant generate``.

    Raises:
        DataError: there is no such folder, or two files have one name.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    found: dict[str, Path] = {}
    for file in list_folder(folder).audio:
        name = name_of(file.relative_to(folder))
        if name in found:
            raise DataError(f"{str(file)!r} and {str(found[name])!r} are both clips of {name!r}; keep one of them")
        found[name] = file
    return found


def name_of(inner: Path) -> str:
    """The name of a clip from its path within its folder."""
    return inner.with_name(_SEED_IN_NAME.sub("", inner.stem) or inner.stem).as_posix()


def read_texts(file: Path, names: list[str], folder: Path | None = None) -> dict[str, str]:
    """The text of each name, from a file of texts.

    Args:
        file: a JSON object from names to texts; a table (.csv or .jsonl) with the columns ``file_name`` and
            ``caption``; or a text file with one line per name, in their order.
        folder: of the clips, for tables that name them by their whole paths.

    Raises:
        DataError: the file cannot be read, or has no text for one of the names.
    """
    if file.suffix.lower() in TABLE_SUFFIXES:
        texts = _table_texts(file, folder)
    else:
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


def tagged_text(file: Path) -> str:
    """The text in the tags of a file that Descant generated, or nothing."""
    text = read_info(file).get("text")
    return text.strip() if isinstance(text, str) else ""


def description_beside(file: Path) -> Description:
    """The description of a clip in a ``.txt`` or ``.json`` file of the same name, empty if there is none.

    Raises:
        DataError: the file is damaged.
    """
    for suffix, read in ((".txt", read_text_sidecar), (".json", read_json_sidecar)):
        beside = file.with_suffix(suffix)
        if beside.is_file():
            return read(beside)
    return Description()


def _table_texts(file: Path, folder: Path | None) -> dict[str, str]:
    notes: list[str] = []
    described = read_table(file, notes.append)
    if notes:
        raise DataError(f"{str(file)!r}: {notes[0]}")
    texts = {}
    for path, description in described.items():
        home = next((home for home in (folder, file.parent) if home and path.is_relative_to(home.absolute())), None)
        if description.captions:
            texts[name_of(path.relative_to(home.absolute()) if home else path)] = description.captions[0]
    return texts
