"""CUDA graphs: kernels recorded once and started again together.

At a decoding step a GPU spends more time waiting for the next kernel than calculating. A recorded graph starts all
kernels of a step at once. It reads and writes the same memory each time, so its inputs are copied into that memory, and
its shapes are fixed: there is one graph for each shape. On other devices the same functions are called plainly.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from operator import is_not
from typing import Any, TypeAlias

import torch
from torch import Tensor

WARM_UP_RUNS = 2
"""Calls before the recording: libraries allocate workspaces and Triton compiles kernels at the first ones."""

Work: TypeAlias = Callable[[], None]
Results: TypeAlias = tuple[Tensor, ...]

_ONE_AT_A_TIME = threading.Lock()


class GraphCache:
    """Works on static memory, each recorded at its first use.

    Args:
        device: graphs are recorded on CUDA only.
        is_captured: False calls the works plainly on CUDA too.
    """

    def __init__(self, device: torch.device, is_captured: bool = True) -> None:
        self._device = device
        self._is_captured = is_captured and device.type == "cuda"
        # One stream for all: each stream on which cuBLAS is called has a workspace of its own.
        self._stream: Any = torch.cuda.Stream(device) if self._is_captured else None
        self._pool: Any = torch.cuda.graph_pool_handle() if self._is_captured else None
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def run(self, key: Hashable, work: Work) -> None:
        """Does the work of this name.

        Args:
            key: the same for the same kernels on the same memory.
            work: reads and writes memory that outlives this object; done twice, it leaves the same there as done once.
        """
        if not self._is_captured:
            work()
            return
        if key not in self._graphs:
            with _ONE_AT_A_TIME:
                self._graphs[key] = self._captured(work)
        self._graphs[key].replay()

    def _captured(self, work: Work) -> torch.cuda.CUDAGraph:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                work()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile; only what this one does could disturb the recording.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph


class GraphedFunction:
    """A function of tensors that is recorded once for each set of shapes.

    Args:
        function: tensors to a tuple of tensors, without reading values on the CPU.
    """

    def __init__(self, function: Callable[..., Results], device: torch.device, is_captured: bool = True) -> None:
        self._function = function
        self._graphs = GraphCache(device, is_captured)
        self._calls: dict[Hashable, _StaticCall] = {}

    def __call__(self, new: Sequence[Tensor], constant: Sequence[Tensor] = (), **options: Hashable) -> Results:
        """What the function gives for the tensors of ``new`` and ``constant``, in this order.

        Args:
            constant: not copied again if they are the same objects as in the last call of these shapes; their values
                must not change meanwhile.
            options: other arguments; there is a graph for each choice.
        """
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in (*new, *constant))
        key = (shapes, tuple(sorted(options.items())))
        if key not in self._calls:
            self._calls[key] = _StaticCall(self._function, new, constant, options)
        call = self._calls[key]
        call.fill(new, constant)
        self._graphs.run(key, call)
        return call.results()


class _StaticCall:
    """A call with its arguments and its results in memory of its own."""

    def __init__(
        self,
        function: Callable[..., Results],
        new: Sequence[Tensor],
        constant: Sequence[Tensor],
        options: dict[str, Hashable],
    ) -> None:
        self._function, self._options = function, options
        self._new = [torch.empty_like(tensor) for tensor in new]
        self._constant = [torch.empty_like(tensor) for tensor in constant]
        self._copied: list[Tensor] = []
        self._results: Results = ()

    def fill(self, new: Sequence[Tensor], constant: Sequence[Tensor]) -> None:
        """Copies the arguments."""
        for mine, given in zip(self._new, new, strict=True):
            mine.copy_(given)
        if len(self._copied) != len(constant) or any(map(is_not, self._copied, constant)):
            for mine, given in zip(self._constant, constant, strict=True):
                mine.copy_(given)
            self._copied = list(constant)

    def __call__(self) -> None:
        results = self._function(*self._new, *self._constant, **self._options)
        if not self._results:
            self._results = tuple(torch.empty_like(result) for result in results)
        for mine, result in zip(self._results, results, strict=True):
            mine.copy_(result)

    def results(self) -> Results:
        """Copies of the results."""
        return tuple(result.clone() for result in self._results)
