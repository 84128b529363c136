"""Loading the model for the node. PyTorch is imported here, not when the node starts."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.parameter_table import ParameterError
from alpamayo_ros.ros.plan_info import ModelIdentity

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner

# Threads that PyTorch takes by itself; known once that was changed.
_usual_threads: int | None = None


def load_model(settings: NodeSettings, should_stop: Callable[[], bool],
               report: Callable[[str], None]) -> tuple[Planner, ModelIdentity]:
    """Load and warm up; ``report`` gets a sentence on what is going on.

    Raises ``ParameterError`` for a backend that is not there, ``CheckpointError``, ``EngineError``,
    ``ValueError`` for a device that is not there, ``PlanCancelled`` when stopped during warm-up.
    """
    from alpamayo_ros.model.expert import BACKENDS
    from alpamayo_ros.planner import Planner

    if settings.backend not in BACKENDS:
        raise ParameterError(f"parameter 'expert.backend' is {settings.backend!r}; expected one "
                             f'of {", ".join(BACKENDS)}')
    report(f'loading {settings.checkpoint}')
    _set_threads(settings.cpu_threads)
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


def give_memory_back() -> None:
    """Free what nobody holds any more, and let other processes have what PyTorch keeps of a GPU.

    PyTorch that was never loaded, or never used a GPU, is left so.
    """
    # Buffers of a session, and the frames of a load that failed, hold tensors in cycles.
    gc.collect()
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _set_threads(count: int) -> None:
    global _usual_threads
    import torch

    if count and _usual_threads is None:
        _usual_threads = torch.get_num_threads()
    if _usual_threads is not None:
        torch.set_num_threads(count or _usual_threads)
