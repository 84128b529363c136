"""The expert as a TensorRT engine, the whole Euler loop captured in one CUDA graph.

The engine reads the VLM's cache where prefill and decoding wrote it: the addresses are bound when
a loop is captured, and stay. Nothing is copied, neither through the host nor for each candidate;
the processor launches one graph a plan and waits once, for the actions.

The engines have been built, but nothing here has been run yet: it was written where there was no
GPU (docs/engines.md says what that leaves open).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert import trt
from alpamayo_ros.model.expert.captured import Begin, CapturedLoops
from alpamayo_ros.model.expert.graph import Port
from alpamayo_ros.model.expert.manifest import ENGINE, ENGINE_MANIFEST, Manifest
from alpamayo_ros.model.expert.placed import PlacedExpert
from alpamayo_ros.model.expert.protocol import ExpertContext, ExpertOptions, Guidance


class TensorRTExpert(PlacedExpert):
    """``ExpertBackend`` over ``expert.engine``. Not thread-safe."""

    name = 'tensorrt'

    def __init__(self, model: AlpamayoModel, options: ExpertOptions) -> None:
        """``EngineError`` when there is no GPU, no TensorRT, or the engine does not fit."""
        flavour = trt.find(_flavour_of(options))
        # The manifest is looked at first: what does not fit is said even where nothing could run.
        super().__init__(
            model, options, manifest=ENGINE_MANIFEST, made_by='build-engine',
            flavour=flavour.name, tensorrt=flavour.version,
            gpu=trt.gpu_name(model.device) if flavour.bound_to_gpu else '')
        if self._device.type != 'cuda':
            raise EngineError(f"expert backend 'tensorrt' runs on a GPU, and device is "
                              f"'{self._device}'; expected 'cuda', or the backend 'onnxruntime', "
                              'which runs the same graph on any machine')
        self._messages: list[str] = []
        with torch.cuda.device(self._device):
            self._runtime = flavour.trt.Runtime(flavour.logger(self._messages))
            path = self._directory / ENGINE
            self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._engine is None:
                raise EngineError(f'{path} cannot be loaded: {self._said()}; make it anew with: '
                                  f'{self.remedy(self._spec.max_prefix)}')
            self._check_ports(flavour)
            # Every captured loop has an execution context of its own, as it keeps shapes and
            # addresses; they run one after another, so they share what they work in.
            self._scratch: Tensor | None = torch.empty(
                flavour.scratch_bytes(self._engine), dtype=torch.uint8, device=self._device)
        self._flavour_found = flavour
        self._loops = CapturedLoops(self._prepare)

    def _check_ports(self, flavour: trt.Flavour) -> None:
        engine = self._engine
        found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        expected = {port.name: port for port in (*self._spec.inputs(), *self._spec.outputs())}
        wrong = [f'{name} is not there' for name in expected if name not in found]
        wrong += [f'{name} is not expected' for name in found if name not in expected]
        for name in found & set(expected):
            shape = tuple('prefix' if size == -1 else size
                          for size in engine.get_tensor_shape(name))
            port = Port(name, shape, flavour.dtype(engine.get_tensor_dtype(name)))
            if port != expected[name]:
                wrong.append(f'{port}; expected {expected[name]}')
        if wrong:
            raise EngineError(f'{self._directory / ENGINE} has other inputs or outputs than its '
                              f'manifest says: {"; ".join(wrong)}')

    def _prepare(self, context: ExpertContext) -> Begin:
        """Bind the cache of a context to an execution context of its own."""
        if self._engine is None or self._scratch is None:
            raise ValueError('the expert is closed; expected one that is open')
        execution = self._flavour_found.context(self._engine, self._scratch)
        if execution is None:
            raise EngineError(f'TensorRT gives no execution context: {self._said()}')
        velocity = torch.empty(self._spec.outputs()[0].shape, device=self._device)
        # TensorRT holds addresses only; what lies there lives as long as the field below.
        inputs = {port.name: torch.empty(port.shape, device=self._device)
                  for port in self._spec.inputs()[:2]} | self.bindings(context)
        for name, value in inputs.items():
            if not execution.set_input_shape(name, tuple(value.shape)):
                raise EngineError(f'TensorRT refuses {name} of shape {tuple(value.shape)}: '
                                  f'{self._said()}')
        for name, value in {**inputs, 'velocity': velocity}.items():
            if not execution.set_tensor_address(name, value.data_ptr()):
                raise EngineError(f'TensorRT refuses the address of {name}: {self._said()}')

        def field(x: Tensor, time: Tensor) -> Tensor:
            # The next step overwrites what this one gives, after the loop has taken it over: all
            # is on one stream.
            inputs['noisy'].copy_(x)
            inputs['time'].copy_(time)
            stream = torch.cuda.current_stream(self._device).cuda_stream
            if not execution.execute_async_v3(stream):
                raise EngineError(f'TensorRT could not run a step: {self._said()}')
            return velocity

        return lambda: field

    @torch.inference_mode()
    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """See ``ExpertBackend.integrate``. The loop is one launch, so a wish to stop is heard
        before it."""
        self.check_noise(noise)
        with torch.cuda.device(self._device):
            return self._loops.integrate(noise, times, context, guidance, should_stop)

    def close(self) -> None:
        """See ``ExpertBackend.close``."""
        self._loops.clear()
        self._engine = self._scratch = None

    def _said(self) -> str:
        return ' '.join(self._messages[-3:]) or 'it gave no reason'


def _flavour_of(options: ExpertOptions) -> str:
    """The flavour the engine was built with, so that it is not tried with another."""
    if options.engine_dir is None:
        return trt.AUTO
    try:
        return Manifest.read(options.engine_dir / ENGINE_MANIFEST).flavour or trt.AUTO
    except EngineError:
        return trt.AUTO
