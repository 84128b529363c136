"""Does the expert stay within the range of float16, at the geometry of a full-size checkpoint?

The very step that is exported runs with random weights, a layer at a time: each is drawn, run and
dropped, so that a full-size expert needs little more memory than one layer. It runs in bfloat16,
which has the range of float32: nothing can overflow, and what is bfloat16 here is what is float16
in the exported graph. The largest magnitude of every such tensor is recorded, inputs and weights
among them. A product that TensorRT accumulates in float32 may pass its range unseen; its result
may not.

Where magnitudes depend on training, trained weights are imitated, on the large side of what is
known of Qwen3 and its like:

- weights are normal with a variance of 1 / inputs, those of norms log-normal, up to
  ``LARGEST_NORM``;
- the residual stream grows: attention and MLP of every layer are scaled to add equal shares, which
  make a root mean square of ``RESIDUAL`` behind the last;
- massive activations: from the second layer on ``MASSIVE_CHANNELS`` channels hold up to
  ``MASSIVE``, written by one unit of the MLP that reaches ``UNIT``; norms weigh them little;
- queries and keys: the norms' weights are ``SHARP`` at two entries of a head, the same for both,
  which makes for large logits; values are normal with a deviation of ``VALUE``.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from alpamayo_ros.bench.geometry import Geometry
from alpamayo_ros.model.action_projection import ActionProjection
from alpamayo_ros.model.config import AlpamayoConfig, load_config
from alpamayo_ros.model.expert.module import ExpertStep
from alpamayo_ros.model.layers import DecoderLayer, GatedMLP, RMSNorm, Rotary
from alpamayo_ros.verification.result import Check

LARGEST = 65504.0
"""The largest float16."""
MARGIN = 4.0
"""How many times the largest value found must fit into float16."""
MASSIVE, MASSIVE_CHANNELS, UNIT = 4000.0, 4, 1000.0
RESIDUAL, LARGEST_NORM, SHARP, VALUE = 30.0, 12.0, 16.0, 8.0
_MASSIVE_LAYER, _MASSIVE_NORM, _START, _NORM_SPREAD = 1, 0.05, 4.0, 0.7
PREFIX, TAIL, SAMPLES = 5000, 40, 2
_REPORT_EVERY = 6
_RECORDED = torch.bfloat16


class Magnitudes(TorchDispatchMode):
    """Records the largest magnitude of every result in ``dtype``.

    ``largest``: by part of the model, operation and its number within the layer, the magnitude and
    the layer it was found in.
    """

    def __init__(self, dtype: torch.dtype = _RECORDED) -> None:
        super().__init__()
        self.largest: dict[str, tuple[float, int]] = {}
        self._layer, self._paused, self._dtype = 0, False, dtype
        self._path = ['step']
        self._counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        result = func(*args, **kwargs or {})
        # A cast counts as a view, as it may be one. Real views show what is recorded already.
        what = func.overloadpacket
        fresh = not func.is_view or what is torch.ops.aten.to
        if isinstance(result, Tensor) and not self._paused and fresh and (
                result.dtype == self._dtype):
            name = f'{self._path[-1]}: {what.__name__}'
            self._counts[name] += 1
            self.note(f'{name} {self._counts[name]}', result)
        return result

    def note(self, name: str, value: Tensor) -> None:
        """Take a tensor into account; one of another type is not float16 in the graph."""
        if value.dtype != self._dtype:
            return
        with self.paused():
            low, high = value.aminmax()
            found = max(-float(low), float(high))
        if math.isnan(found):
            found = math.inf
        if found > self.largest.get(name, (-1.0, 0))[0]:
            self.largest[name] = (found, self._layer)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing of what is done meanwhile."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def enter(self, layer: int, module: nn.Module) -> None:
        """The next layer begins: name what happens in its parts after them."""
        self._layer = layer
        self._counts.clear()
        self.follow(module)

    def follow(self, module: nn.Module, prefix: str = '') -> None:
        """Name what happens in a module's parts after them, and note their weights."""
        for name, part in module.named_modules(prefix=prefix):
            part.register_forward_pre_hook(lambda *_, name=name: self._path.append(name))
            part.register_forward_hook(lambda *_: self._path.pop() and None)
        for name, weight in module.named_parameters(prefix=prefix):
            self.note(f'{name} (weight)', weight.detach())


class RandomExpert:
    """An expert of a geometry, its layers and its prompt made one at a time in bfloat16."""

    def __init__(self, config: AlpamayoConfig, seen: Magnitudes, report: Callable[[str], None],
                 seed: int = 0) -> None:
        self._config, self._seen, self._report = config, seen, report
        self._generator = torch.Generator().manual_seed(seed)

    def step(self) -> ExpertStep:
        """The step that is exported, over layers that are made as it goes through them."""
        config, geometry = self._config, self._config.expert
        projection = ActionProjection(config.action_projection, geometry.hidden_size,
                                      stored_freqs=False)
        for name, weight in projection.named_parameters():
            weight.data = torch.ones(weight.shape) if weight.ndim == 1 else self._normal(
                *weight.shape) * weight.shape[-1] ** -0.5
            if name.endswith('bias'):
                weight.data.zero_()
        # The channels that are to be massive hold one and the same value from the start.
        projection.norm.weight.data[:MASSIVE_CHANNELS] = 0
        projection.norm.bias.data[:MASSIVE_CHANNELS] = _START
        for part in (*projection.sinus, projection.timestep_fourier_encoder):
            part.materialise(torch.device('cpu'))
        rotary = Rotary(geometry)
        rotary.materialise(torch.device('cpu'))
        norm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)
        out = nn.Linear(geometry.hidden_size, 2)
        with self._seen.paused():
            self._fill(norm)
            self._fill(out)
            norm.weight[:MASSIVE_CHANNELS] = _MASSIVE_NORM
        self._seen.follow(norm, 'norm')
        self._seen.follow(out, 'action_out_proj')
        expert = SimpleNamespace(layers=self, norm=norm, rotary=rotary)
        return ExpertStep(SimpleNamespace(
            expert=expert, action_in_proj=projection, action_out_proj=out, config=config))

    def __iter__(self) -> Iterator[DecoderLayer]:
        count = self._config.expert.num_layers
        for index in range(count):
            if index and index % _REPORT_EVERY == 0:
                self._report(f'{index} of {count} layers')
            with self._seen.paused():
                layer = self._layer(index)
            self._seen.enter(index, layer)
            yield layer

    def cache(self, name: str, *shape: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Keys and values (..., head_dim) of each layer."""
        for _ in range(self._config.expert.num_layers):
            with self._seen.paused():
                k = self._normal(*shape) * self._norm_weight(shape[-1])
                v = VALUE * self._normal(*shape)
                k, v = k.to(_RECORDED), v.to(_RECORDED)
            self._seen.note(f'{name} keys (input)', k)
            self._seen.note(f'{name} values (input)', v)
            yield k, v

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def _norm_weight(self, size: int, *, sharp: bool = True) -> Tensor:
        weight = (_NORM_SPREAD * self._normal(size)).exp().clamp(max=LARGEST_NORM)
        if sharp:
            weight[:2] = SHARP
        return weight

    def _fill(self, module: nn.Module) -> None:
        """Weights of a module and its parts, in bfloat16."""
        for part in module.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                if isinstance(part, RMSNorm):
                    value = self._norm_weight(weight.shape[0], sharp=False)
                else:
                    value = self._normal(*weight.shape) * weight.shape[-1] ** -0.5
                setattr(part, name, nn.Parameter(value.to(_RECORDED), requires_grad=False))

    def _layer(self, index: int) -> DecoderLayer:
        geometry = self._config.expert
        with torch.device('meta'):
            layer = DecoderLayer(geometry)
        self._fill(layer)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.weight[:MASSIVE_CHANNELS] = _MASSIVE_NORM
        for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
            norm.weight[:2] = SHARP
        share = RESIDUAL / (2 * geometry.num_layers) ** 0.5
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight[:MASSIVE_CHANNELS] = 0
            linear.register_forward_pre_hook(
                lambda linear, inputs: self._scale(linear, inputs[0], share))
        if index == _MASSIVE_LAYER:
            layer.mlp.register_forward_pre_hook(
                lambda mlp, inputs: self._write_massive(mlp, inputs[0]))
        return layer

    def _scale(self, linear: nn.Linear, x: Tensor, share: float) -> None:
        """Scale the weights so that what comes out has this root mean square."""
        with self._seen.paused():
            ordinary = linear.weight[MASSIVE_CHANNELS:]
            ordinary.mul_(share / (x @ ordinary.mT).float().square().mean().sqrt())

    def _write_massive(self, mlp: GatedMLP, x: Tensor) -> None:
        """One unit that reaches ``UNIT``, driven by the channels it writes to."""
        with self._seen.paused():
            whole = x[..., :MASSIVE_CHANNELS].float().sum(-1).amax()
            for linear in (mlp.gate_proj, mlp.up_proj):
                linear.weight[0] = 0
                linear.weight[0, :MASSIVE_CHANNELS] = UNIT ** 0.5 / whole
            mlp.down_proj.weight[:, 0] = 0
            mlp.down_proj.weight[:MASSIVE_CHANNELS, 0] = MASSIVE / UNIT


@torch.inference_mode()
def check_fp16_range(geometry: Geometry, name: str, *, prefix: int = PREFIX,
                     margin: float = MARGIN, report: Callable[[str], None] = lambda _: None
                     ) -> list[Check]:
    """One denoising step of a random expert of this geometry; a check for every tensor that is
    float16 in the exported graph, the largest first. It passes when ``margin`` times its largest
    magnitude is a float16."""
    seen = Magnitudes()
    config = _config(geometry)
    report(f'{name}: {config.expert.num_layers} layers, {SAMPLES} candidates, a prompt of '
           f'{prefix} tokens')
    with seen:
        expert = RandomExpert(config, seen, report)
        step = expert.step()
        shape = config.expert.num_kv_heads, prefix, config.expert.head_dim
        tail = 1, shape[0], TAIL, shape[2]
        waypoints = config.unicycle.n_waypoints
        cos, sin = step.rotary(torch.tensor([prefix + TAIL]), waypoints, _RECORDED)
        noisy = torch.randn(1, SAMPLES, waypoints, 2, generator=torch.Generator().manual_seed(1))
        velocity = step(noisy, torch.tensor(0.5), cos, sin, expert.cache('prompt', *shape),
                        expert.cache('tail', *tail), torch.zeros(1, TAIL))
    if not bool(velocity.isfinite().all()):
        seen.largest['velocity'] = (float('inf'), config.expert.num_layers)
    return [Check(f'fp16 range {name}', what, magnitude, LARGEST / margin, f'layer {layer}')
            for what, (magnitude, layer) in sorted(
                seen.largest.items(), key=lambda item: item[1][0], reverse=True)]


def _config(geometry: Geometry) -> AlpamayoConfig:
    """The configuration as a checkpoint's would be read."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / 'vlm').mkdir()
        for path, content in (('config.json', geometry.config()),
                              ('vlm/config.json', geometry.backbone_config())):
            (directory / path).write_text(json.dumps(content), encoding='utf-8')
        return load_config(directory)
