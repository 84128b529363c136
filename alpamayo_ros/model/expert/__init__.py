"""The action expert and its backends; ``make_backend`` is the one place that knows them by name."""

from __future__ import annotations

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.protocol import ExpertBackend, ExpertOptions
from alpamayo_ros.model.expert.torch_backend import TorchExpert

BACKENDS = ('torch', 'onnxruntime', 'tensorrt')


def make_backend(name: str, model: AlpamayoModel, options: ExpertOptions | None = None
                 ) -> ExpertBackend:
    """The backend of that name, and no other.

    ``ValueError`` lists those there are; ``EngineError`` says what it lacks or what does not fit.
    """
    options = options or ExpertOptions()
    if name == 'torch':
        return TorchExpert(model)
    # Imported when asked for: their libraries need not be installed where they are not used.
    if name == 'onnxruntime':
        from alpamayo_ros.model.expert.onnxruntime_backend import OnnxRuntimeExpert
        return OnnxRuntimeExpert(model, options)
    if name == 'tensorrt':
        from alpamayo_ros.model.expert.tensorrt_backend import TensorRTExpert
        return TensorRTExpert(model, options)
    raise ValueError(f'expert backend is {name!r}; expected one of {", ".join(BACKENDS)}')
