"""The bytes a stage must move and the operations it must do, and the time a machine needs for them.

Every weight and every key and value is counted once for each time it must be read, intermediate
values not at all, as a stage could keep them in caches. A multiplication with an addition is two
operations; norms, activations and softmaxes are left out. What is counted is a floor, therefore:
no way of running the same model does less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.geometry import TextGeometry


@dataclass(frozen=True)
class Rates:
    """What the machine was measured to do: ``bandwidth`` in bytes/s, ``operations`` per second."""

    bandwidth: float
    operations: float


@dataclass(frozen=True)
class Work:
    """``bytes`` to and from memory, and ``operations``."""

    bytes: int
    operations: int

    def __add__(self, other: Work) -> Work:
        return Work(self.bytes + other.bytes, self.operations + other.operations)

    def times(self, count: int) -> Work:
        """The same, ``count`` times."""
        return Work(self.bytes * count, self.operations * count)

    def floor_ms(self, rates: Rates) -> float:
        """Milliseconds that the slower of the two takes when the other costs nothing."""
        return 1e3 * max(self.bytes / rates.bandwidth, self.operations / rates.operations)


def layer_weights(geometry: TextGeometry) -> int:
    """Weights of one layer of a text decoder or of the expert that are multiplied with every
    token."""
    heads = geometry.num_heads * geometry.head_dim
    pair = 2 * geometry.num_kv_heads * geometry.head_dim
    return geometry.hidden_size * (2 * heads + pair + 3 * geometry.intermediate_size)


def cache_values(geometry: TextGeometry, tokens: int) -> int:
    """Keys and values of so many tokens in all layers."""
    return 2 * geometry.num_layers * geometry.num_kv_heads * geometry.head_dim * tokens


def _attention(geometry: TextGeometry, pairs: int) -> int:
    """Operations of all layers' attention for so many pairs of query and key."""
    return 4 * geometry.num_layers * geometry.num_heads * geometry.head_dim * pairs


def vision(config: AlpamayoConfig, grids: Sequence[tuple[int, int, int]], size: int) -> Work:
    """The vision tower over images of these grids (1, rows, columns) of patches; ``size`` of a
    value in bytes."""
    g = config.vision
    hidden, mergers = g.hidden_size, 1 + len(g.deepstack_indexes)
    wide = hidden * g.spatial_merge_size ** 2
    block = hidden * (4 * hidden + 2 * g.intermediate_size)
    merger = wide * (wide + g.out_hidden_size)
    patches = sum(rows * columns for _, rows, columns in grids)
    tokens = patches // g.spatial_merge_size ** 2
    pairs = sum((rows * columns) ** 2 for _, rows, columns in grids)
    operations = (2 * patches * (g.patch_values * hidden + g.depth * block)
                  + 4 * g.depth * hidden * pairs + 2 * tokens * mergers * merger)
    weights = g.patch_values * hidden + g.depth * block + mergers * merger
    values = weights + patches * g.patch_values + mergers * tokens * g.out_hidden_size
    return Work(size * values, operations)


def prefill(config: AlpamayoConfig, tokens: int, size: int) -> Work:
    """A prompt of so many tokens through the text decoder, and the logits of what follows it."""
    g = config.text
    head = g.hidden_size * g.vocab_size
    weights = g.num_layers * layer_weights(g) + head
    operations = (2 * tokens * g.num_layers * layer_weights(g) + 2 * head
                  + _attention(g, tokens * (tokens + 1) // 2))
    return Work(size * (weights + tokens * g.hidden_size + cache_values(g, tokens)), operations)


def decoded_token(config: AlpamayoConfig, prompt: int, tail: int, size: int, *,
                  groups: int = 1) -> Work:
    """One more token for each of ``groups`` reasonings, behind ``prompt`` shared tokens and
    ``tail`` of its own. Of the embedding's table one row is read."""
    g = config.text
    weights = g.num_layers * layer_weights(g) + g.hidden_size * g.vocab_size
    read = weights + cache_values(g, prompt + groups * tail) + groups * g.hidden_size
    operations = groups * (2 * weights + _attention(g, prompt + tail + 1))
    return Work(size * read, operations)


def expert_step(config: AlpamayoConfig, prompt: int, tail: int, size: int, *, groups: int,
                samples: int) -> Work:
    """One denoising step for ``groups`` reasonings with ``samples`` candidates each."""
    g, projection = config.expert, config.action_projection
    waypoints = config.unicycle.n_waypoints
    tokens = groups * samples * waypoints
    layers = g.num_layers * layer_weights(g)
    mlp = projection.hidden_size * (
        3 * projection.num_fourier_feats + (projection.num_enc_layers - 1) * projection.hidden_size
        + g.hidden_size)
    small = mlp + 2 * g.hidden_size
    read = size * (layers + cache_values(g, prompt + groups * tail)) + 4 * small
    operations = (2 * tokens * (layers + small)
                  + _attention(g, tokens * (prompt + tail + waypoints)))
    return Work(read, operations)


def stages(config: AlpamayoConfig, grids: Sequence[tuple[int, int, int]], *, prompt: int,
           tokens: int, candidates: int, steps: int, size: int) -> dict[str, Work]:
    """Every stage of a plan with a single reasoning of ``tokens``, by its name in the table."""
    token = decoded_token(config, prompt, tokens // 2, size)
    step = expert_step(config, prompt, tokens - 1, size, groups=1, samples=candidates)
    return {'vision': vision(config, grids, size), 'prefill': prefill(config, prompt, size),
            'decode': token.times(tokens - 1), 'decode, per token': token,
            'expert step': step, 'expert loop': step.times(steps)}
