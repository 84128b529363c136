"""The action expert and its backends; ``make_backend`` is the one place that knows them by name."""

from __future__ import annotations

from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.protocol import ExpertBackend
from alpamayo_ros.model.expert.torch_backend import TorchExpert

BACKENDS = ('torch',)


def make_backend(name: str, model: AlpamayoModel) -> ExpertBackend:
    """The backend of that name, and no other; ``ValueError`` lists those there are."""
    if name not in BACKENDS:
        raise ValueError(f'expert backend is {name!r}; expected one of {", ".join(BACKENDS)}')
    return TorchExpert(model)
