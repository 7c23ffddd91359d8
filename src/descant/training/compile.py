"""Blocks whose operations PyTorch joins to fewer kernels (``torch.compile``): less time for each update.

The first updates take longer: a block is compiled once for all layers, again for validation, and again when lengths
change. Results differ from those of the plain blocks in the last bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from descant.errors import ConfigError
from descant.lm.model import MusicLM


def compile_blocks(lm: MusicLM) -> None:
    """Compiles the blocks of a language model in place, each when it is first called; their weights keep their names.

    Blocks, not the model: all layers share what is compiled, and weights that are split over processes are gathered
    between two blocks.
    """
    for block in lm.blocks:
        assert isinstance(block, nn.Module)
        block.compile()


@contextmanager
def naming_compiler() -> Iterator[None]:
    """Says what to do where the blocks cannot be compiled.

    Raises:
        ConfigError: PyTorch found no compiler on this machine, or it failed.
    """
    # Here, since it takes a second or more, and most runs do not compile.
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        yield
    except BackendCompilerFailed as error:
        reason = str(error.inner_exception).strip().splitlines() or [type(error.inner_exception).__name__]
        raise ConfigError(
            f"trainer.compile: PyTorch could not compile the blocks ({reason[0]:.200}); a CPU needs a C++ compiler "
            f"such as g++, a GPU needs Triton; or set it to false"
        ) from error
