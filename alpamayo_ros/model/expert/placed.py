"""What the backends share that run a graph made beforehand for certain shapes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.expert.graph import PRECISIONS, GraphSpec
from alpamayo_ros.model.expert.manifest import Manifest, Wanted, command, require
from alpamayo_ros.model.expert.protocol import ExpertContext, ExpertOptions
from alpamayo_ros.model.kv_cache import CacheRoom

USUAL_PREFIX = 6144
"""Room for the prompt in tokens unless another is asked for: six cameras with four frames make
4,500 to 5,500."""


class PlacedExpert:
    """Checks the manifest, and knows which part of the cache is which input.

    ``room``: the cache the graph reads in place, see ``ExpertBackend``.
    """

    name = ''

    def __init__(self, model: AlpamayoModel, options: ExpertOptions, *, manifest: str,
                 made_by: str, flavour: str = '', tensorrt: str = '', gpu: str = '') -> None:
        """``EngineError`` when there is no manifest or it does not fit."""
        self._device = model.device
        self._made_by, self._flavour = made_by, flavour
        self._checkpoint = model.config.directory
        if options.engine_dir is None:
            raise EngineError(
                f"expert backend '{self.name}' needs a directory with what `alpamayo {made_by} "
                f"{self._checkpoint}` writes; expected engine_dir (the node's parameter "
                'expert.engine_dir)')
        self._directory = options.engine_dir
        precision = next(name for name, dtype in PRECISIONS.items() if dtype == model.dtype)
        self._spec = GraphSpec.of(
            model.config, precision=precision, groups=options.groups, samples=options.samples,
            max_prefix=options.max_prefix or 1, tail=options.max_tail)
        wanted = Wanted(options.fingerprint, self._spec, flavour, tensorrt, gpu)
        self._manifest: Manifest = require(
            self._directory / manifest, wanted, self.remedy(options.max_prefix or USUAL_PREFIX))
        self._spec = self._manifest.spec
        self.room = CacheRoom(self._spec.max_prefix, self._spec.groups, self._spec.tail)

    def remedy(self, max_prefix: int) -> str:
        """The command that makes what this backend needs."""
        return command(self._made_by, self._checkpoint, self._directory,
                       dataclasses.replace(self._spec, max_prefix=max_prefix),
                       flavour=self._flavour)

    def fitted(self, wanted: CacheRoom) -> CacheRoom:
        """See ``ExpertBackend.fitted``: the prompt as long as it is, tails as the graph has them.
        """
        spec, directory = self._spec, self._directory
        if wanted.groups != spec.groups:
            raise EngineError(f'{wanted.groups} reasonings are asked for; {directory} was made for '
                              f'{spec.groups}')
        if wanted.tail > spec.tail:
            raise EngineError(f'reasonings of up to {wanted.tail} tokens are asked for; '
                              f'{directory} was made for {spec.tail}')
        if wanted.prompt > spec.max_prefix:
            longer = -(-wanted.prompt // 512) * 512
            raise EngineError(
                f'the prompt has {wanted.prompt} tokens; {directory} was made for up to '
                f'{spec.max_prefix}. Make one for longer prompts with: {self.remedy(longer)}')
        return CacheRoom(wanted.prompt, spec.groups, spec.tail)

    def check_noise(self, noise: Tensor) -> None:
        """``EngineError`` for a number of candidates the graph was not made for."""
        expected = self._spec.inputs()[0].shape
        if tuple(noise.shape) != expected:
            raise EngineError(
                f'{noise.shape[0]} reasonings x {noise.shape[1]} candidates x {noise.shape[2]} '
                f'waypoints are asked for; {self._directory} was made for {expected[0]} x '
                f'{expected[1]} x {expected[2]}')

    def bindings(self, context: ExpertContext) -> dict[str, Tensor]:
        """Inputs that stay the same during a loop, by name: views of the cache, not copies.

        ``EngineError`` when the cache lies otherwise than the graph reads it.
        """
        cache = context.cache
        tensors = {'position': context.position, 'tail_length': context.tail_length}
        for layer in range(self._spec.layers):
            for kind, pair in (('prompt', cache.prompt(layer)), ('tail', cache.tail_room(layer))):
                for part, value in zip('kv', pair, strict=True):
                    tensors[f'{kind}_{part}_{layer}'] = value
        for port in self._spec.inputs()[2:]:
            value, shape = tensors[port.name], port.at(cache.prompt_length)
            if (tuple(value.shape) != shape or value.dtype != getattr(torch, port.dtype)
                    or not value.is_contiguous() or value.device != self._device):
                raise EngineError(
                    f'{port.name} is {tuple(value.shape)} {value.dtype} on {value.device}'
                    f'{"" if value.is_contiguous() else ", not contiguous"}; expected {shape} '
                    f'{port.dtype} on {self._device}, contiguous')
        return {port.name: tensors[port.name] for port in self._spec.inputs()[2:]}
