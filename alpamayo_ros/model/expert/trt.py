"""The one place that knows there are two TensorRTs.

``tensorrt`` comes with JetPack, DRIVE OS or from NVIDIA for data-centre and workstation GPUs: it
builds on the GPU that will run the engine. ``tensorrt-rtx`` (TensorRT for RTX, on PyPI) builds
without any GPU and compiles the rest when the engine is loaded on an RTX GPU. Their Python
interfaces differ in a few names; here those are.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.expert.manifest import NO_GPU

TENSORRT, TENSORRT_RTX = 'tensorrt', 'tensorrt-rtx'
AUTO = 'auto'
_MODULES = {TENSORRT: ('tensorrt',), TENSORRT_RTX: ('tensorrt_rtx', 'tensorrt_rtx_bindings')}
FLAVOURS = tuple(_MODULES)
_HOW = {
    TENSORRT: 'it comes with JetPack and DRIVE OS, and for workstations from NVIDIA',
    TENSORRT_RTX: 'the packages are in requirements/engine.txt'}
_TYPES = {'FLOAT': 'float32', 'HALF': 'float16', 'BF16': 'bfloat16', 'INT64': 'int64',
          'INT32': 'int32'}


def gpu_name(device: torch.device | None = None) -> str:
    """Name and compute capability of a CUDA device (the current one), or ``NO_GPU``."""
    if not torch.cuda.is_available():
        return NO_GPU
    major, minor = torch.cuda.get_device_capability(device)
    return f'{torch.cuda.get_device_name(device)}, sm_{major}{minor}'


@dataclass(frozen=True)
class Flavour:
    """An installed TensorRT: its name here and its Python module."""

    name: str
    trt: ModuleType

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def builds_without_gpu(self) -> bool:
        return self.name == TENSORRT_RTX

    @property
    def bound_to_gpu(self) -> bool:
        """Whether an engine runs only on the kind of GPU it was built on."""
        return self.name == TENSORRT

    @property
    def has_timing_cache(self) -> bool:
        """TensorRT for RTX measures nothing while it builds."""
        return self.name == TENSORRT

    def logger(self, messages: list[str]) -> Any:
        """A logger that collects warnings and errors in ``messages`` and prints nothing."""
        trt = self.trt
        kept = {trt.Logger.INTERNAL_ERROR, trt.Logger.ERROR, trt.Logger.WARNING}

        class Collector(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in kept:
                    messages.append(message)

        return Collector()

    def network(self, builder: Any) -> Any:
        """An empty network whose tensors have the types the graph gives them, and no others."""
        flags = self.trt.NetworkDefinitionCreationFlag
        return builder.create_network(1 << int(flags.STRONGLY_TYPED))

    def dtype(self, tensor_type: Any) -> str:
        """A TensorRT type as numpy and torch call it."""
        return _TYPES.get(tensor_type.name, tensor_type.name.lower())

    def for_capture(self, config: Any) -> None:
        """Ask for an engine that can be captured in a CUDA graph, all of it on one stream."""
        config.max_aux_streams = 0
        flag = getattr(self.trt.BuilderFlag, 'REQUIRE_USER_ALLOCATION', None)
        if flag is not None:
            config.set_flag(flag)

    def scratch_bytes(self, engine: Any) -> int:
        """Device memory that an execution context works in."""
        return int(engine.device_memory_size_v2)

    def context(self, engine: Any, scratch: torch.Tensor) -> Any:
        """An execution context that works in ``scratch``, ready for capture after its first run.

        None when TensorRT makes none.
        """
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.name == TENSORRT_RTX:
            # Kernels for the present shapes are compiled at once: those that would replace
            # others later, in the background, could not replace them in a captured graph.
            settings = engine.create_runtime_config()
            settings.set_execution_context_allocation_strategy(strategy)
            strategies = self.trt.DynamicShapesKernelSpecializationStrategy
            settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            execution = engine.create_execution_context(settings)
        else:
            execution = engine.create_execution_context(strategy)
        if execution is not None:
            execution.set_device_memory(scratch.data_ptr(), scratch.numel())
        return execution


def installed(name: str) -> Flavour | None:
    """The flavour of that name, if it can be imported."""
    for module_name in _MODULES[name]:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        if hasattr(module, 'Builder'):
            return Flavour(name, module)
    return None


def find(name: str = AUTO, *, to_build: bool = False) -> Flavour:
    """The flavour asked for, or with ``auto`` the one that suits this machine.

    ``auto`` prefers ``tensorrt``, but not to build on a machine without a GPU. ``EngineError``
    says what is missing.
    """
    if name not in (AUTO, *FLAVOURS):
        raise EngineError(f'the TensorRT flavour is {name!r}; expected one of '
                          f'{", ".join((AUTO, *FLAVOURS))}')
    has_gpu = torch.cuda.is_available()
    for candidate in FLAVOURS if name == AUTO else (name,):
        flavour = installed(candidate)
        if flavour is None:
            continue
        if to_build and not has_gpu and not flavour.builds_without_gpu:
            if name == AUTO:
                continue
            raise EngineError(f'{name} {flavour.version} builds on the GPU that runs the engine, '
                              f'and torch {torch.__version__} finds none here; expected a GPU, '
                              f'or the flavour {TENSORRT_RTX}')
        return flavour
    missing = FLAVOURS if name == AUTO else (name,)
    raise EngineError('TensorRT cannot be imported here; expected '
                      + ' or '.join(f'{item} ({_HOW[item]})' for item in missing))
