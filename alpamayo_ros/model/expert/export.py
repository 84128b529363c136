"""The denoising step as an ONNX graph, made from the very module that PyTorch runs."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.checkpoint import EXPERT, fingerprints, load_model
from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.expert.files import written_together
from alpamayo_ros.model.expert.graph import PRECISIONS, PREFIX, GraphSpec, Port, StepGraph
from alpamayo_ros.model.expert.manifest import (
    EXPORT_MANIFEST,
    ONNX,
    ONNX_DATA,
    Manifest,
    Wanted,
    unchanged,
)

OPSET = 20
EXTERNAL_ABOVE = 1 << 30
"""Bytes of weights from which on they lie in a file of their own; one of protobuf ends at 2 GB."""
_TRACED_PREFIX = 7
_LOGGER = 'torch.onnx._internal.exporter._registration'


def export_checkpoint(config: AlpamayoConfig, spec: GraphSpec, directory: Path, *,
                      report: Callable[[str], None], external_above: int = EXTERNAL_ABOVE
                      ) -> Manifest:
    """Write the expert of a checkpoint as ``expert.onnx`` with its manifest to ``directory``.

    Does nothing, and reports so, when it is there already. Only the expert is loaded, on the CPU.
    Raises ``CheckpointError`` for the checkpoint, ``EngineError`` for what cannot be exported.
    """
    _, fingerprint = fingerprints(config)
    wanted = Wanted(fingerprint, spec, exact=True)
    there = unchanged(directory / EXPORT_MANIFEST, wanted)
    if there is not None:
        report(f'{directory / ONNX} is up to date: nothing to do')
        return there
    packages = {name: require_package(name).__version__ for name in ('onnx', 'onnxscript')}
    report(f'loading the expert of {config.directory} in {spec.precision}')
    model = load_model(config, torch.device('cpu'), PRECISIONS[spec.precision], parts=EXPERT)
    with written_together(directory, last=EXPORT_MANIFEST) as folder:
        report(f'exporting {spec.layers} layers, {spec.groups} reasonings x {spec.samples} '
               f'candidates x {spec.waypoints} waypoints')
        export_model(model, spec, folder / ONNX, external_above=external_above)
        report('checking the graph')
        check(folder / ONNX, spec)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        manifest = Manifest(
            expert_fingerprint=fingerprint, spec=spec, files=files,
            built=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            versions={'torch': torch.__version__, **packages})
        manifest.write(folder / EXPORT_MANIFEST)
    report(f'wrote {directory / ONNX}, {sum(files.values()) / 2 ** 20:.1f} MiB')
    if ONNX_DATA not in files:
        (directory / ONNX_DATA).unlink(missing_ok=True)  # of an earlier, larger export
    return manifest


def require_package(name: str) -> ModuleType:
    """Import a package that only exporting and engines need; ``EngineError`` says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f'the Python package {name} cannot be imported ({error}); it is among '
                          'those in requirements/engine.txt') from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that have no part in this."""
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


def example_inputs(spec: GraphSpec, prefix: int, *, device: torch.device | str = 'cpu',
                   generator: torch.Generator | None = None) -> list[torch.Tensor]:
    """Inputs of the right shapes: keys, values and actions normal, positions behind the prompt."""
    inputs = []
    for port in spec.inputs():
        shape, dtype = port.at(prefix), getattr(torch, port.dtype)
        if port.name == 'position':
            value = torch.full(shape, prefix + spec.tail)
        elif port.name == 'tail_length':
            value = torch.full(shape, spec.tail)
        elif port.name == 'time':
            value = torch.tensor(0.5)
        else:
            value = torch.randn(shape, generator=generator)
        inputs.append(value.to(device, dtype))
    return inputs


@torch.no_grad()
def export_model(model: AlpamayoModel, spec: GraphSpec, path: Path, *,
                 external_above: int = EXTERNAL_ABOVE) -> None:
    """Write the graph, constants folded, weights beside it where they are large.

    The same model and versions give the same bytes.
    """
    step = StepGraph(model).eval()
    prefix = torch.export.Dim(PREFIX, min=1, max=max(spec.max_prefix, _TRACED_PREFIX + 1))
    cache = tuple({port.shape.index(PREFIX): prefix} if PREFIX in port.shape else None
                  for port in spec.inputs()[4:])
    with _quiet():
        program = torch.onnx.export(
            step, tuple(example_inputs(spec, _TRACED_PREFIX)), dynamo=True, verbose=False,
            input_names=[port.name for port in spec.inputs()],
            output_names=[port.name for port in spec.outputs()],
            dynamic_shapes=(None, None, None, None, cache), opset_version=OPSET, optimize=True)
    for node in program.model.graph.all_nodes():
        # Stack traces: of no use to a reader of the graph, and different on each machine.
        node.metadata_props.clear()
        node.doc_string = None
    program.model.metadata_props.clear()
    program.model.doc_string = None
    size = sum(weight.numel() * weight.element_size() for weight in step.state_dict().values())
    program.save(str(path), external_data=size > external_above)


def ports(values: Iterable[Any]) -> list[Port]:
    """Inputs or outputs of a graph as it was read."""
    onnx = require_package('onnx')
    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(size.dim_param or size.dim_value for size in tensor.shape.dim)
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        found.append(Port(value.name, shape, {'float': 'float32'}.get(dtype, dtype)))
    return found


def check(path: Path, spec: GraphSpec) -> None:
    """``EngineError`` when the graph is malformed or has other inputs or outputs than ``spec``."""
    onnx = require_package('onnx')
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f'the exported graph is malformed: {error}') from error
    graph = onnx.load(str(path), load_external_data=False).graph
    for found, expected in ((ports(graph.input), spec.inputs()),
                            (ports(graph.output), spec.outputs())):
        if found != expected:
            wrong = next((f'{a}; expected {b}' for a, b in zip(found, expected, strict=False)
                          if a != b), f'{len(found)} of them; expected {len(expected)}')
            raise EngineError(f'the exported graph has an input or output {wrong}')
