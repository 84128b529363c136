"""Loading the model for the node. PyTorch is imported here, not when the node starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.parameter_table import ParameterError
from alpamayo_ros.ros.plan_info import ModelIdentity

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner


def load_model(settings: NodeSettings, should_stop: Callable[[], bool],
               report: Callable[[str], None]) -> tuple[Planner, ModelIdentity]:
    """Load and warm up; ``report`` gets a sentence on what is going on.

    Raises ``ParameterError`` for a backend that is not there, ``CheckpointError``, ``EngineError``,
    ``ValueError`` for a device that is not there, ``PlanCancelled`` when stopped during warm-up.
    """
    import torch

    from alpamayo_ros.model.expert import BACKENDS
    from alpamayo_ros.planner import Planner

    if settings.backend not in BACKENDS:
        raise ParameterError(f"parameter 'expert.backend' is {settings.backend!r}; expected one "
                             f'of {", ".join(BACKENDS)}')
    report(f'loading {settings.checkpoint}')
    if settings.cpu_threads:
        torch.set_num_threads(settings.cpu_threads)
    planner = Planner.load(settings.checkpoint, settings.planner, device=settings.device,
                           dtype=settings.dtype, backend=settings.backend,
                           engine_dir=settings.engine_dir)
    try:
        report('warming up')
        stages = planner.warm_up([camera.camera_id for camera in settings.cameras],
                                 settings.alignment.frames_per_camera, should_stop=should_stop)
    except BaseException:
        planner.close()
        raise
    identity = ModelIdentity(
        checkpoint=str(settings.checkpoint), model_type=planner.model_type,
        backend=planner.backend, device=settings.device, dtype=settings.dtype,
        checkpoint_fingerprint=planner.checkpoint_fingerprint,
        expert_fingerprint=planner.expert_fingerprint)
    report(f'{planner.model_type} is ready on {settings.device} in {settings.dtype}, expert on '
           f'{planner.backend}; warm-up took {sum(stages.values()):.0f} ms; checkpoint '
           f'{identity.checkpoint_fingerprint}, expert {identity.expert_fingerprint}')
    return planner, identity
