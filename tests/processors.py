"""Processors that compiled code is made for in tests, and which of them the processor at hand can stand in for."""

import llvmlite.binding as llvm
import pytest

from descant.compiled.code import Target

TARGETS = {
    "AVX2, Intel": Target("haswell"),
    "AVX2, AMD": Target("znver3"),
    "AVX2 and VNNI": Target("alderlake", dot="vnni"),
    "AVX-512": Target("skylake-avx512", num_vectors=16),
    "AVX-512 and VNNI, AMD": Target("znver4", num_vectors=16, dot="vnni"),
    "AVX-512 and VNNI, Intel": Target("sapphirerapids", num_vectors=16, dot="vnni"),
    "AVX2 with the layout for AVX-512": Target("haswell", num_vectors=16, dot="plain"),
    "no instruction for bytes": Target("haswell", dot="plain"),
}
"""Older and newer processors than most that run the tests."""

FLOAT_TARGETS = ("AVX2, Intel", "AVX2, AMD", "AVX-512", "AVX2 with the layout for AVX-512")
"""Those that differ where no bytes are multiplied."""

NEEDED = {
    "AVX2 and VNNI": ("avxvnni",),
    "AVX-512": ("avx512bw",),
    "AVX-512 and VNNI, AMD": ("avx512vnni", "avx512bf16"),
    "AVX-512 and VNNI, Intel": ("avx512vnni", "avx512fp16"),
}
"""What a processor needs to run the code for another, beyond AVX2: LLVM's names."""


def is_runnable(name: str) -> bool:
    """Whether the processor at hand runs code for this one. An instruction that it lacks would end the process."""
    features = llvm.get_host_cpu_features()
    return all(features.get(feature) for feature in NEEDED.get(name, ()))


def each_target(*names: str) -> list[object]:
    """Parameters of a test: these targets, or all. Those that cannot run here are skipped."""
    return [
        pytest.param(
            TARGETS[name],
            id=name,
            marks=pytest.mark.skipif(not is_runnable(name), reason=f"needs {', '.join(NEEDED.get(name, ()))}"),
        )
        for name in names or TARGETS
    ]
