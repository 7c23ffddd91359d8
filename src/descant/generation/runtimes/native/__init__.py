"""The CPU's runtime: whole steps in functions that are compiled for the processor at hand."""

from descant.compiled.code import is_supported
from descant.generation.runtimes.native.session import NativeRuntime, NativeSession

__all__ = ["NativeRuntime", "NativeSession", "is_supported"]
