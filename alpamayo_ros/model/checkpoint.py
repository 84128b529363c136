"""Loading a checkpoint: every weight from its file straight to the wanted device and dtype.

The model is built without storage and each tensor is put in place as it is read, so there is never
a second copy of the model in memory. All names and shapes are checked before the first weight is
read. Errors are ``CheckpointError`` and name the weight or the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.alpamayo import FLOAT32_MODULES, AlpamayoModel
from alpamayo_ros.model.config import AlpamayoConfig, read_json

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
EXPERT = ('expert.', 'action_')
"""Beginnings of the names of the action expert's weights."""
_INDEX, _SINGLE = 'model.safetensors.index.json', 'model.safetensors'
_LM_HEAD, _EMBEDDING = 'vlm.lm_head.weight', 'vlm.model.language_model.embed_tokens.weight'
_HASH_WHOLE = 1 << 20
_HASH_BLOCKS = 16
_HASH_BLOCK = 1 << 16


def parse_dtype(name: str) -> torch.dtype:
    """``ValueError`` names the dtypes there are."""
    if name not in DTYPES:
        raise ValueError(f'dtype is {name!r}; expected one of {", ".join(DTYPES)}')
    return DTYPES[name]


def parse_device(name: str) -> torch.device:
    """``ValueError`` when the device is malformed or not on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; expected 'cpu', 'cuda' or 'cuda:N'") from None
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch {torch.__version__} finds no CUDA device; "
                         "expected 'cpu', or a CUDA build of torch on a machine with a GPU")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f'device is {name!r}; expected an index below '
                         f'{torch.cuda.device_count()}, the number of CUDA devices')
    if device.type not in ('cpu', 'cuda'):
        raise ValueError(f"device is {name!r}; expected 'cpu', 'cuda' or 'cuda:N'")
    return device


def _weight_files(directory: Path) -> list[Path]:
    index = directory / _INDEX
    if index.exists():
        weight_map = read_json(index).get('weight_map')
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index} has no 'weight_map'; expected weight names to files")
        files = sorted({directory / str(name) for name in weight_map.values()})
    else:
        files = [directory / _SINGLE]
    for path in files:
        if not path.is_file():
            found = sorted(item.name for item in directory.glob('*.safetensors')) or 'none'
            raise CheckpointError(f'{path} does not exist; safetensors files found: {found}')
    return files


def _open(stack: ExitStack, path: Path, device: torch.device) -> Any:
    try:
        return stack.enter_context(safe_open(path, framework='pt', device=str(device)))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is no readable safetensors file: {error}') from error


def _list(names: Iterable[str], limit: int = 5) -> str:
    names = sorted(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def _check_names(expected: Mapping[str, Tensor], found: Mapping[str, Any],
                 config: AlpamayoConfig) -> None:
    where = config.directory
    # The statistics are in config.json too; released checkpoints hold them, or not.
    missing = {name for name in set(expected) - set(found) if not name.startswith('action_space.')}
    if config.tie_word_embeddings:
        missing.discard(_LM_HEAD)
    if missing:
        raise CheckpointError(f'{where}: missing weights: {_list(missing)}')
    extra = set(found) - set(expected)
    if extra:
        raise CheckpointError(f'{where}: unexpected weights: {_list(extra)}; expected those of '
                              f'{config.model_type} with the sizes of config.json and no others')
    for name, handle in found.items():
        shape = tuple(handle.get_slice(name).get_shape())
        if shape != tuple(expected[name].shape):
            hint = (f" (its rows are config.json's 'vocab_size' {config.vocab_size})"
                    if name in (_LM_HEAD, _EMBEDDING) else '')
            raise CheckpointError(f'{where}: weight {name} has shape {shape}; expected '
                                  f'{tuple(expected[name].shape)}{hint}')


def _place(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition('.')
    module = model.get_submodule(path)
    if leaf in module._parameters:
        setattr(module, leaf, nn.Parameter(value, requires_grad=False))
    else:
        setattr(module, leaf, value)


def load_model(config: AlpamayoConfig, device: torch.device, dtype: torch.dtype, *,
               parts: tuple[str, ...] = ('',)) -> AlpamayoModel:
    """Build the model of ``config`` and fill it with the checkpoint's weights.

    ``parts``: beginnings of the names of weights that are wanted, such as ``EXPERT``; what is not
    wanted stays without storage.
    """
    with torch.device('meta'):
        model = AlpamayoModel(config)
    expected = model.state_dict()
    with ExitStack() as stack:
        handles = [_open(stack, path, device) for path in _weight_files(config.directory)]
        found: dict[str, Any] = {}
        for handle in handles:
            for name in handle.keys():
                if name in found:
                    raise CheckpointError(f'{config.directory}: weight {name} is in two files')
                found[name] = handle
        _check_names(expected, found, config)
        for name, handle in found.items():
            if not name.startswith(parts):
                continue
            value = handle.get_tensor(name)
            if not value.is_floating_point():
                raise CheckpointError(f'{config.directory}: weight {name} is {value.dtype}; '
                                      'expected a floating-point type')
            wanted = torch.float32 if name.startswith(FLOAT32_MODULES) else dtype
            _place(model, name, value.to(wanted))
    if _LM_HEAD not in found:
        model.vlm.lm_head.weight = model.vlm.model.language_model.embed_tokens.weight
    for name in sorted(set(expected) - set(found)):
        if name.startswith('action_space.'):
            _place(model, name, torch.tensor(getattr(config.unicycle, name.split('.')[1])))
    model.materialise_buffers(device)
    model.eval()
    return model


def fingerprints(config: AlpamayoConfig) -> tuple[str, str]:
    """Digests of the whole checkpoint and of the expert's weights, 16 hex digits each.

    Covers config.json, the backbone's config.json and tokenizer.json, and every weight's name,
    dtype, shape and bytes: all bytes of a weight up to 1 MiB, 16 evenly spaced blocks of 64 KiB of
    a larger one (a full read of a released checkpoint would add many seconds to every start).
    """
    whole, expert = hashlib.sha256(), hashlib.sha256()
    for path in (config.directory / 'config.json', config.vlm_directory / 'config.json',
                 config.vlm_directory / 'tokenizer.json'):
        if path.exists():
            whole.update(path.read_bytes())
    expert.update(repr((
        config.expert, config.expert_causal, config.action_projection, config.unicycle)).encode())
    for path in _weight_files(config.directory):
        for name, header, block in _weight_bytes(path):
            digests = [whole]
            if name.startswith(EXPERT):
                digests.append(expert)
            for digest in digests:
                digest.update(header)
                digest.update(block)
    return whole.hexdigest()[:16], expert.hexdigest()[:16]


def _weight_bytes(path: Path) -> Iterable[tuple[str, bytes, bytes]]:
    """Name, header and the hashed bytes of every weight, by name."""
    with path.open('rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        header = json.loads(file.read(size))
        header.pop('__metadata__', None)
        for name in sorted(header):
            start, stop = (8 + size + offset for offset in header[name]['data_offsets'])
            content = b''
            if stop - start <= _HASH_WHOLE:
                file.seek(start)
                content = file.read(stop - start)
            else:
                for index in range(_HASH_BLOCKS):
                    file.seek(start + (stop - start - _HASH_BLOCK) * index // (_HASH_BLOCKS - 1))
                    content += file.read(_HASH_BLOCK)
            head = f"{name}{header[name]['dtype']}{header[name]['shape']}".encode()
            yield name, head, content
