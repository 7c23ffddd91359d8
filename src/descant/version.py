"""The version, kept in the package's metadata alone."""

from importlib.metadata import version

__version__ = version("descant")
