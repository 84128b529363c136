"""The exported graph run by ONNX Runtime: the very graph that engines are built from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.errors import EngineError, PlanCancelled
from alpamayo_ros.model import flow
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.captured import Velocity, guided_field
from alpamayo_ros.model.expert.export import require_package
from alpamayo_ros.model.expert.manifest import EXPORT_MANIFEST, ONNX
from alpamayo_ros.model.expert.placed import PlacedExpert
from alpamayo_ros.model.expert.protocol import ExpertContext, ExpertOptions, Guidance

_ELEMENT_TYPES = {torch.float32: 1, torch.float16: 10, torch.int64: 7}
"""As ONNX numbers them."""


class OnnxRuntimeExpert(PlacedExpert):
    """``ExpertBackend`` over ``expert.onnx``; on the device of the model, or not at all."""

    name = 'onnxruntime'

    def __init__(self, model: AlpamayoModel, options: ExpertOptions) -> None:
        """``EngineError`` when the graph is missing or does not fit."""
        if model.dtype == torch.bfloat16:
            raise EngineError("dtype is 'bfloat16', which ONNX Runtime does not compute with; "
                              "expected 'float32' or 'float16'")
        super().__init__(model, options, manifest=EXPORT_MANIFEST, made_by='export')
        runtime = require_package('onnxruntime')
        providers: list[Any] = ['CPUExecutionProvider']
        if self._device.type == 'cuda':
            if 'CUDAExecutionProvider' not in runtime.get_available_providers():
                raise EngineError(f'device is {self._device}, but onnxruntime '
                                  f'{runtime.__version__} has no CUDAExecutionProvider; expected '
                                  "onnxruntime-gpu, or the device 'cpu'")
            providers = [('CUDAExecutionProvider', {'device_id': self._device.index or 0})]
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3
        self._session: Any = runtime.InferenceSession(
            str(self._directory / ONNX), settings, providers=providers)
        if self._session.get_providers()[0] != (
                providers[0] if isinstance(providers[0], str) else providers[0][0]):
            raise EngineError(f'onnxruntime runs on {self._session.get_providers()}; expected '
                              f'{providers[0]}')

    def _velocity(self, context: ExpertContext) -> Velocity:
        """The field in one context; the cache is bound where it lies."""
        if self._session is None:
            raise ValueError('the expert is closed; expected one that is open')
        binding = self._session.io_binding()
        shape = tuple(self._spec.outputs()[0].shape)
        velocity = torch.empty(shape, device=self._device)
        inputs = self.bindings(context)

        def bind(name: str, value: Tensor) -> None:
            binding.bind_input(name, value.device.type, value.device.index or 0,
                               _ELEMENT_TYPES[value.dtype], tuple(value.shape), value.data_ptr())

        for name, value in inputs.items():
            bind(name, value)
        binding.bind_output('velocity', velocity.device.type, velocity.device.index or 0,
                            _ELEMENT_TYPES[velocity.dtype], shape, velocity.data_ptr())

        def field(x: Tensor, time: Tensor) -> Tensor:
            # A binding holds addresses only; what lies there lives as long as this function.
            inputs['noisy'], inputs['time'] = x.contiguous(), time.contiguous()
            bind('noisy', inputs['noisy'])
            bind('time', inputs['time'])
            if self._device.type == 'cuda':
                torch.cuda.current_stream(self._device).synchronize()
            self._session.run_with_iobinding(binding)
            return velocity.clone()

        return field

    @torch.inference_mode()
    def integrate(self, noise: Tensor, times: Tensor, context: ExpertContext, *,
                  guidance: Guidance | None = None,
                  should_stop: Callable[[], bool]) -> Tensor:
        """See ``ExpertBackend.integrate``."""
        self.check_noise(noise)
        contexts = [context] if guidance is None else [context, guidance.without]
        field = guided_field([self._velocity(item) for item in contexts], guidance)

        def velocity(x: Tensor, time: Tensor) -> Tensor:
            if should_stop():
                raise PlanCancelled('planning was stopped between two steps of the expert')
            return field(x, time)

        return flow.euler(velocity, noise, times)

    def close(self) -> None:
        """See ``ExpertBackend.close``."""
        self._session = None
