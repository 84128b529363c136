"""What lies beside an exported expert or an engine and says what it fits.

A manifest is compared with what is wanted twice: by the commands, to find out that there is nothing
to do, and by the backends, which refuse what does not fit.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.expert.graph import GraphSpec

EXPORT_VERSION = 1
"""Raised when the graph that is exported changes; older files are then built anew."""
ONNX, ONNX_DATA, EXPORT_MANIFEST = 'expert.onnx', 'expert.onnx.data', 'export.json'
ENGINE, ENGINE_MANIFEST = 'expert.engine', 'engine.json'
NO_GPU = 'built without a GPU'


@dataclass(frozen=True)
class Manifest:
    """``expert_fingerprint``: digest of the expert's weights; ``flavour``, ``tensorrt``: kind and
    version of TensorRT; ``gpu``: name and compute capability of the GPU it was built on, or
    ``NO_GPU`` (all three empty for an export); ``versions``: what wrote it; ``files``: names and
    bytes; ``built``: when, UTC."""

    expert_fingerprint: str
    spec: GraphSpec
    files: Mapping[str, int]
    built: str
    versions: Mapping[str, str]
    export_version: int = EXPORT_VERSION
    flavour: str = ''
    tensorrt: str = ''
    gpu: str = ''

    def write(self, path: Path) -> None:
        data = asdict(self)
        data['ports'] = {'inputs': [str(port) for port in self.spec.inputs()],
                         'outputs': [str(port) for port in self.spec.outputs()]}
        path.write_text(json.dumps(data, indent=1) + '\n')

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """``EngineError`` when it is missing, damaged, or a file it names is not whole."""
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            data.pop('ports', None)
            manifest = cls(**{**data, 'spec': GraphSpec.from_json(data['spec'])})
            files = {name: int(size) for name, size in manifest.files.items()}
        except FileNotFoundError:
            raise EngineError(f'{path} does not exist') from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise EngineError(f'{path} is no readable manifest: {error}') from error
        for name, size in files.items():
            file = path.parent / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = 'does not exist' if found is None else f'has {found} bytes'
                raise EngineError(f'{file} {state}; expected {size} bytes, as {path.name} says')
        return manifest


@dataclass(frozen=True)
class Wanted:
    """What a manifest is held against. ``exact``: prompt and tail must be those it was made for,
    otherwise they must be long enough. Empty strings fit anything."""

    expert_fingerprint: str
    spec: GraphSpec
    flavour: str = ''
    tensorrt: str = ''
    gpu: str = ''
    exact: bool = False

    def differences(self, manifest: Manifest) -> list[str]:
        """One sentence each: the thing, its value in the manifest, the one wanted."""
        have, want = manifest.spec, self.spec
        pairs: list[tuple[str, object, object]] = [
            ('the expert it was made from', manifest.expert_fingerprint, self.expert_fingerprint),
            ('the export version', manifest.export_version, EXPORT_VERSION)]
        pairs += [(label, found, wanted) for label, found, wanted in (
            ('the TensorRT flavour', manifest.flavour, self.flavour),
            ('the TensorRT version', manifest.tensorrt, self.tensorrt),
            ('the GPU', manifest.gpu, self.gpu)) if wanted]
        pairs += [(label, getattr(have, field), getattr(want, field)) for label, field in (
            ('the precision', 'precision'), ('the number of candidates', 'candidates'),
            ('the reasoning mode', 'mode'), ('the number of waypoints', 'waypoints'),
            ('the number of layers', 'layers'), ('the number of KV heads', 'kv_heads'),
            ('the size of a head', 'head_dim'))]
        found = [f'{label} is {value}; expected {wanted}' for label, value, wanted in pairs
                 if value != wanted]
        for label, field in (('the longest prompt, in tokens,', 'max_prefix'),
                             ('the longest reasoning, in tokens,', 'tail')):
            value, wanted = getattr(have, field), getattr(want, field)
            if value != wanted if self.exact else value < wanted:
                found.append(f'{label} is {value}; expected {"" if self.exact else "at least "}'
                             f'{wanted}')
        return found


def command(name: str, checkpoint: Path, directory: Path, spec: GraphSpec, *,
            flavour: str = '') -> str:
    """The command line that makes what is wanted."""
    words = ['alpamayo', name, str(checkpoint), '--candidates', str(spec.candidates),
             '--mode', spec.mode, '--max-prefix', str(spec.max_prefix), '--max-tail',
             str(spec.tail), '--precision', spec.precision]
    if flavour:
        words += ['--flavour', flavour]
    return shlex.join([*words, '--output', str(directory)])


def require(path: Path, wanted: Wanted, remedy: str) -> Manifest:
    """The manifest at ``path`` if it fits; else ``EngineError`` with both values and the remedy."""
    try:
        manifest = Manifest.read(path)
    except EngineError as error:
        raise EngineError(f'{error}; make it with: {remedy}') from error
    differences = wanted.differences(manifest)
    if differences:
        raise EngineError(f'{path.parent} does not fit: {"; ".join(differences)}. '
                          f'Make one that does with: {remedy}')
    return manifest


def unchanged(path: Path, wanted: Wanted) -> Manifest | None:
    """The manifest at ``path`` if everything is as wanted, else None."""
    try:
        manifest = Manifest.read(path)
    except EngineError:
        return None
    return None if wanted.differences(manifest) else manifest
