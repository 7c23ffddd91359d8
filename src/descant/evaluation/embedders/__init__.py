"""Embedders of audio behind one interface, ``Embedder``."""

from descant.evaluation.embedders.base import Embedder, LabelEmbedder, TextEmbedder
from descant.evaluation.embedders.clap import ClapEmbedder
from descant.evaluation.embedders.mert import MERTEmbedder
from descant.evaluation.embedders.musicnn import TAGS, MusiCNN, MusiCNNEmbedder, MusicTagger
from descant.evaluation.embedders.passt import PaSSTEmbedder
from descant.evaluation.embedders.vggish import VGGishEmbedder
from descant.evaluation.embedders.weights import WeightsFile

__all__ = [
    "TAGS",
    "ClapEmbedder",
    "Embedder",
    "LabelEmbedder",
    "MERTEmbedder",
    "MusiCNN",
    "MusiCNNEmbedder",
    "MusicTagger",
    "PaSSTEmbedder",
    "TextEmbedder",
    "VGGishEmbedder",
    "WeightsFile",
]
