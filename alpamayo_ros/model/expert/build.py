"""From the exported graph to an engine file with its manifest."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.checkpoint import fingerprints
from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.expert.export import export_checkpoint
from alpamayo_ros.model.expert.files import written_together
from alpamayo_ros.model.expert.graph import PREFIX, GraphSpec, Port
from alpamayo_ros.model.expert.manifest import (
    ENGINE,
    ENGINE_MANIFEST,
    ONNX,
    Manifest,
    Wanted,
    unchanged,
)
from alpamayo_ros.model.expert.trt import Flavour, gpu_name

_USUAL = 3 / 4
"""The length of prompt, as a part of the longest, for which tactics are chosen: six cameras with
four frames make about 4,500 tokens of 6,144."""

_PHASES_SHOWN = 3
"""Phases within phases that a line of progress names."""


def build_engine(config: AlpamayoConfig, spec: GraphSpec, directory: Path, *, flavour: Flavour,
                 report: Callable[[str], None], progress: Callable[[str], None] = lambda _: None,
                 workspace_bytes: int | None = None) -> Manifest:
    """Export the expert if need be and build its engine in ``directory``.

    Does nothing, and reports so, when the engine is there already. ``progress`` gets a line each
    time TensorRT has got further. Interrupted, it leaves things as they were. ``CheckpointError``
    or ``EngineError`` say why there is no engine.
    """
    _, fingerprint = fingerprints(config)
    wanted = Wanted(fingerprint, spec, flavour.name, flavour.version, gpu_name(), exact=True)
    there = unchanged(directory / ENGINE_MANIFEST, wanted)
    if there is not None:
        report(f'{directory / ENGINE} is up to date: nothing to do')
        return there
    export_checkpoint(config, spec, directory, report=report)
    report(f'building with {flavour.name} {flavour.version}, {gpu_name()}')
    cache = directory / f'timing-{flavour.version}.cache' if flavour.has_timing_cache else None
    builder = EngineBuilder(flavour, spec, progress)
    engine = builder.build(directory / ONNX, workspace_bytes=workspace_bytes,
                           timing_cache=cache.read_bytes() if cache and cache.exists() else b'')
    with written_together(directory, last=ENGINE_MANIFEST) as folder:
        with (folder / ENGINE).open('wb') as file:
            file.write(engine)
        size = (folder / ENGINE).stat().st_size
        if cache and builder.timing_cache:
            (folder / cache.name).write_bytes(builder.timing_cache)
        manifest = Manifest(
            expert_fingerprint=fingerprint, spec=spec, files={ENGINE: size},
            built=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            versions={'torch': torch.__version__}, flavour=flavour.name,
            tensorrt=flavour.version, gpu=gpu_name())
        manifest.write(folder / ENGINE_MANIFEST)
    report(f'wrote {directory / ENGINE}, {size / 2 ** 20:.1f} MiB')
    return manifest


class EngineBuilder:
    """One build. ``timing_cache``: what it measured, for the next one, where that is kept."""

    def __init__(self, flavour: Flavour, spec: GraphSpec,
                 progress: Callable[[str], None] = lambda _: None) -> None:
        self._flavour, self._spec = flavour, spec
        self._messages: list[str] = []
        self._logger = flavour.logger(self._messages)
        self._monitor = _monitor(flavour, progress)
        self._builder = flavour.trt.Builder(self._logger)
        self.timing_cache = b''

    def parse(self, path: Path) -> Any:
        """The graph as a strongly typed network with the inputs and outputs of ``spec``."""
        network = self._flavour.network(self._builder)
        parser = self._flavour.trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(path)):
            errors = '; '.join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise EngineError(f'TensorRT cannot read {path.name}: {errors or self._said()}')
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        for found, expected in ((inputs, self._spec.inputs()), (outputs, self._spec.outputs())):
            self._compare([self._port(tensor) for tensor in found], expected)
        return network

    def build(self, path: Path, *, workspace_bytes: int | None = None, timing_cache: bytes = b''
              ) -> Any:
        """The engine of the graph at ``path`` as a buffer. ``KeyboardInterrupt`` ends it soon."""
        network = self.parse(path)
        trt = self._flavour.trt
        config = self._builder.create_builder_config()
        config.progress_monitor = self._monitor
        if workspace_bytes is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        if self._flavour.has_timing_cache:
            config.set_timing_cache(config.create_timing_cache(timing_cache), False)
        self._flavour.for_capture(config)
        profile = self._builder.create_optimization_profile()
        longest = self._spec.max_prefix
        usual = max(1, int(longest * _USUAL))
        for port in self._spec.inputs():
            if PREFIX in port.shape:
                profile.set_shape(port.name, port.at(1), port.at(usual), port.at(longest))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f'TensorRT refuses prompts of 1 to {longest} tokens: {self._said()}')
        engine = self._run(network, config)
        if engine is None:
            raise EngineError(f'TensorRT could not build the engine: {self._said()}')
        if self._flavour.has_timing_cache:
            self.timing_cache = bytes(config.get_timing_cache().serialize())
        return engine

    def _run(self, network: Any, config: Any) -> Any:
        """Build in a thread of its own, so that an interrupt is heard while TensorRT works."""
        result: list[Any] = []
        done = threading.Event()  # an interrupted Thread.join() may take a thread for ended

        def work() -> None:
            try:
                result.append(self._builder.build_serialized_network(network, config))
            except Exception as error:  # handed to the caller's thread
                result.append(error)
            finally:
                done.set()

        threading.Thread(target=work, name='engine-build', daemon=True).start()
        try:
            while not done.wait(0.2):
                pass
        except BaseException:
            self._monitor.cancelled = True
            done.wait()
            raise
        if isinstance(result[0], Exception):
            raise EngineError(f'TensorRT could not build the engine: {result[0]}') from result[0]
        return result[0]

    def _port(self, tensor: Any) -> Port:
        shape = tuple(PREFIX if size == -1 else size for size in tensor.shape)
        return Port(tensor.name, shape, self._flavour.dtype(tensor.dtype))

    @staticmethod
    def _compare(found: list[Port], expected: list[Port]) -> None:
        if found != expected:
            extra = [str(port) for port in found if port not in expected]
            missing = [str(port) for port in expected if port not in found]
            raise EngineError('the network has other inputs or outputs than the graph: has '
                              f'{", ".join(extra) or "no others"}; expected '
                              f'{", ".join(missing) or "another order"}')

    def _said(self) -> str:
        """The last of what TensorRT complained about."""
        return ' '.join(self._messages[-3:]) or 'it gave no reason'


def _monitor(flavour: Flavour, progress: Callable[[str], None]) -> Any:
    """TensorRT's progress as lines; a build ends at its next step once ``cancelled``."""
    base = flavour.trt.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.cancelled = False
            self._phases: dict[str, tuple[int, int]] = {}
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(phase_name, step, None)
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.pop(phase_name, None)

        def _tell(self, phase_name: str, step: int, of: int | None) -> None:
            with self._lock:
                total = self._phases.get(phase_name, (0, 0))[1] if of is None else of
                self._phases[phase_name] = (step, total)
                line = ', '.join(f'{name} {done}/{total}' for name, (done, total) in
                                 list(self._phases.items())[:_PHASES_SHOWN])
            progress(line)

    return Monitor()
