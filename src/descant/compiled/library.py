"""Compiling functions to machine code, and loading it. Object code that was compiled once is kept on disk."""

import ctypes
import threading
from collections.abc import Callable

import llvmlite.binding as llvm
from llvmlite import ir

from descant.compiled.code import Target
from descant.compiled.object_cache import ObjectCache

_COMPILING = threading.Lock()
"""Held while code is compiled: a thread that wants the same finds it on disk afterwards."""


def compiled_library(target: Target, write: Callable[..., None], *arguments: object) -> "Library":
    """The functions that ``write(module, *arguments)`` adds to a module.

    If their object code is on disk, nothing is written or compiled.

    Args:
        write: a function of a module of this package. It depends on nothing but the arguments and the package's source;
            a constant that is replaced while the program runs would go unnoticed.
        arguments: with a ``repr`` that says all of them.
    """
    cache = ObjectCache.of_user()
    name = f"{write.__module__}.{write.__qualname__}{arguments!r} for {target!r}"
    with _COMPILING:
        code = None if cache is None else cache.read(name)
        if code is None:
            module = ir.Module(write.__name__)
            write(module, *arguments)
            code = object_code(module, target)
            if cache is not None:
                cache.write(name, code)
    return Library(code)


def object_code(module: ir.Module, target: Target) -> bytes:
    """A module, compiled."""
    machine = _machine(target)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    return bytes(machine.emit_object(parsed))


class Library:
    """Compiled functions, by name. They stay in memory as long as this object."""

    def __init__(self, object_code: bytes) -> None:
        machine = _machine(Target(""))
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function is."""
        return int(self._engine.get_function_address(name))

    def function(self, name: str, num_arguments: int) -> Callable[..., None]:
        """A function of whole numbers and addresses that gives nothing. Other Python threads run meanwhile."""
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * num_arguments)(self.address(name))
        function.library = self  # type: ignore[attr-defined]  # it lasts as long as the function
        return function


def _machine(target: Target) -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(cpu=target.cpu, features=target.all_features, opt=2)
