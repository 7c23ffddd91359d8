"""Embedders by the names of the command line, with the place of their weights where that is not the usual one."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from descant.conditioning.clap import ClapConfig
from descant.errors import InvalidRequest
from descant.evaluation.embedders import (
    ClapEmbedder,
    Embedder,
    LabelEmbedder,
    MERTEmbedder,
    MusiCNNEmbedder,
    PaSSTEmbedder,
    TextEmbedder,
    VGGishEmbedder,
)
from descant.studies.evaluation.base import Role


def _musicnn(training_set: Literal["MTT", "MSD"], place: str | None) -> MusiCNNEmbedder:
    if place is not None:
        raise InvalidRequest(f"{place!r:.80}: MusiCNN's weights come with the package musicnn; leave the place out")
    return MusiCNNEmbedder.load(training_set)


_LOADERS: dict[str, Callable[[str | None], Embedder]] = {
    "musicnn": lambda place: _musicnn("MTT", place),
    "musicnn-msd": lambda place: _musicnn("MSD", place),
    "vggish": lambda place: VGGishEmbedder.load(None if place is None else Path(place)),
    "passt": lambda place: PaSSTEmbedder.load(None if place is None else Path(place)),
    "clap": lambda place: ClapEmbedder.load(None if place is None else ClapConfig(name=place)),
    "mert": lambda place: MERTEmbedder.load() if place is None else MERTEmbedder.load(place),
}
NAMES = tuple(_LOADERS)

DEFAULTS: dict[Role, str] = {"embedder": "musicnn", "labeller": "musicnn", "text_embedder": "clap"}


def load_embedder(given: str, role: Role) -> Embedder:
    """The embedder of a name, or of ``name=place`` with the file, folder or hub id of its weights.

    Raises:
        InvalidRequest: there is no such embedder, or it cannot serve in this role.
        MissingExtra, CheckpointError: its weights or its package are missing.
    """
    check_embedder(given, role)
    name, equals, place = given.partition("=")
    embedder = _LOADERS[name](place if equals else None)
    if role == "labeller" and not isinstance(embedder, LabelEmbedder):
        raise InvalidRequest(f"labeller={given!r:.80}: it has no labels; musicnn, musicnn-msd and passt have")
    if role == "text_embedder" and not isinstance(embedder, TextEmbedder):
        raise InvalidRequest(f"text_embedder={given!r:.80}: it has no texts; clap has")
    return embedder


def check_embedder(given: str, role: Role) -> None:
    """Refuses a name that is none, before anything is read.

    Raises:
        InvalidRequest: there is no such embedder.
    """
    if given.partition("=")[0] not in _LOADERS:
        raise InvalidRequest(f"{role}={given!r:.80}: allowed are {', '.join(NAMES)}, and name=PLACE of the weights")
