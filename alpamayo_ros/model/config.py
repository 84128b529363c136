"""Reading a checkpoint's ``config.json`` and its backbone's: every size the model has.

Nothing here is a constant of the released model: a checkpoint with other sizes loads the same way.
Errors are ``CheckpointError`` and name the key, the value and what was expected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.trajectory_tokens import DeltaTokenizer, DiscreteTokenizer
from alpamayo_ros.model.unicycle import UnicycleParameters

MODEL_TYPES = ('alpamayo_r1', 'alpamayo1_5')
DEFAULT_MIN_PIXELS, DEFAULT_MAX_PIXELS = 163840, 196608


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ``CheckpointError`` names the file that is missing or malformed."""
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise CheckpointError(f'{path} does not exist; expected a JSON file') from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be read as JSON: {error}') from error
    if not isinstance(value, dict):
        raise CheckpointError(f'{path} holds a {type(value).__name__}; expected a JSON object')
    return value


def _get(config: Mapping[str, Any], key: str, where: str, kind: type = int) -> Any:
    if config.get(key) is None:
        raise CheckpointError(f"{where} lacks '{key}'; expected a value of type {kind.__name__}")
    value = config[key]
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise CheckpointError(f"{where}: '{key}' is {value!r}; expected {kind.__name__}")
    return value


@dataclass(frozen=True)
class TextGeometry:
    """Sizes of a Qwen3-VL text decoder, or of the expert, which has the same layers."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    mrope_section: tuple[int, int, int]
    rms_norm_eps: float
    attention_bias: bool
    vocab_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> TextGeometry:
        """Read a ``text_config``, in either of the two ways transformers has written RoPE."""
        rope = config.get('rope_parameters') or config.get('rope_scaling') or {}
        theta = rope.get('rope_theta', config.get('rope_theta'))
        section = rope.get('mrope_section')
        if theta is None or section is None or len(section) != 3:
            raise CheckpointError(f"{where}: RoPE is {rope!r} with theta {theta!r}; expected a "
                                  "'rope_theta' and an 'mrope_section' of three sizes")
        if rope.get('rope_type', 'default') != 'default' or not rope.get('mrope_interleaved', True):
            raise CheckpointError(f'{where}: RoPE is {rope!r}; expected the interleaved default')
        if config.get('hidden_act', 'silu') != 'silu':
            raise CheckpointError(f"{where}: 'hidden_act' is {config['hidden_act']!r}; expected "
                                  "'silu'")
        geometry = cls(
            hidden_size=_get(config, 'hidden_size', where),
            intermediate_size=_get(config, 'intermediate_size', where),
            num_layers=_get(config, 'num_hidden_layers', where),
            num_heads=_get(config, 'num_attention_heads', where),
            num_kv_heads=_get(config, 'num_key_value_heads', where),
            head_dim=_get(config, 'head_dim', where),
            rope_theta=float(theta), mrope_section=tuple(section),
            rms_norm_eps=float(config.get('rms_norm_eps', 1e-6)),
            attention_bias=bool(config.get('attention_bias', False)),
            vocab_size=_get(config, 'vocab_size', where))
        if geometry.num_heads % geometry.num_kv_heads:
            raise CheckpointError(f"{where}: 'num_attention_heads' is {geometry.num_heads}; "
                                  f"expected a multiple of the {geometry.num_kv_heads} KV heads")
        if 2 * sum(geometry.mrope_section) != geometry.head_dim:
            raise CheckpointError(f"{where}: 'mrope_section' is {list(section)}; expected sizes "
                                  f"that add up to half of head_dim {geometry.head_dim}")
        return geometry


@dataclass(frozen=True)
class VisionGeometry:
    """Sizes of a Qwen3-VL vision tower."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    in_channels: int
    patch_size: int
    spatial_merge_size: int
    temporal_patch_size: int
    out_hidden_size: int
    num_position_embeddings: int
    deepstack_indexes: tuple[int, ...]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> VisionGeometry:
        """Read a ``vision_config``."""
        if config.get('hidden_act', 'gelu_pytorch_tanh') != 'gelu_pytorch_tanh':
            raise CheckpointError(f"{where}: 'hidden_act' is {config['hidden_act']!r}; expected "
                                  "'gelu_pytorch_tanh'")
        indexes = tuple(_get(config, 'deepstack_visual_indexes', where, list))
        names = ('depth', 'hidden_size', 'intermediate_size', 'num_heads', 'in_channels',
                 'patch_size', 'spatial_merge_size', 'temporal_patch_size', 'out_hidden_size',
                 'num_position_embeddings')
        return cls(**{name: _get(config, name, where) for name in names},
                   deepstack_indexes=indexes)

    @property
    def patch_values(self) -> int:
        """Values in one flattened patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size ** 2


@dataclass(frozen=True)
class ActionProjectionGeometry:
    """``action_in_proj_cfg``."""

    hidden_size: int
    num_enc_layers: int
    max_freq: float
    num_fourier_feats: int


@dataclass(frozen=True)
class AlpamayoConfig:
    """A checkpoint's configuration. ``directory`` is the checkpoint, ``vlm_directory`` where the
    backbone's configuration and tokenizer are."""

    directory: Path
    vlm_directory: Path
    model_type: str
    vocab_size: int
    traj_vocab_size: int
    traj_token_start_idx: int
    traj_token_ids: Mapping[str, int]
    add_special_tokens: bool
    tokens_per_history_traj: int
    history_tokenizer: DeltaTokenizer
    history_token_offset: int
    future_tokenizer: DiscreteTokenizer | None
    unicycle: UnicycleParameters
    num_inference_steps: int
    action_projection: ActionProjectionGeometry
    text: TextGeometry
    vision: VisionGeometry
    expert: TextGeometry
    expert_causal: bool
    tie_word_embeddings: bool
    image_token_id: int
    min_pixels: int
    max_pixels: int

    @property
    def accepts_navigation(self) -> bool:
        """Whether prompts may hold a navigation instruction."""
        return self.model_type == 'alpamayo1_5'

    @property
    def names_cameras(self) -> bool:
        """Whether prompts name cameras and frames."""
        return self.model_type == 'alpamayo1_5'


def resolve_backbone(name: str, checkpoint: Path) -> Path:
    """Directory of the backbone's configuration and tokenizer.

    ``name`` is a directory (relative ones are relative to the checkpoint) or a hub name, whose
    small files are taken from the local hub cache or downloaded.
    """
    local = Path(name) if Path(name).is_absolute() else checkpoint / name
    if local.is_dir():
        return local.resolve()
    if Path(name).is_absolute() or name.startswith('.') or name.count('/') != 1:
        raise CheckpointError(f"'vlm_name_or_path' is {name!r}, but {local} is no directory; "
                              'expected a directory, or a hub name such as '
                              'Qwen/Qwen3-VL-8B-Instruct')
    from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, allow_patterns=['*.json', '*.txt', '*.jinja']))
    except Exception as error:  # the hub library raises many unrelated types
        raise CheckpointError(
            f"'vlm_name_or_path' is {name!r}: neither a directory ({local}) nor available from the "
            f'hub ({type(error).__name__}: {error}); expected one of the two. Download its '
            "configuration and tokenizer files and point 'vlm_name_or_path' at them") from error


def _target(config: Mapping[str, Any]) -> str:
    """The class a ``_target_`` names; only its last component matters, nothing is imported."""
    return str(config.get('_target_', '')).rsplit('.', 1)[-1]


def _tokenizers(config: Mapping[str, Any], where: str
                ) -> tuple[DeltaTokenizer, int, DiscreteTokenizer | None]:
    """History tokenizer, what is added to its integers, and the future tokenizer if discrete."""
    history = config.get('hist_traj_tokenizer_cfg')
    future = config.get('traj_tokenizer_cfg') or {}
    if _target(future) not in ('DiscreteTrajectoryTokenizer', 'DeltaTrajectoryTokenizer'):
        raise CheckpointError(f"{where}: 'traj_tokenizer_cfg' names {_target(future)!r}; expected "
                              'DiscreteTrajectoryTokenizer or DeltaTrajectoryTokenizer')
    discrete = (DiscreteTokenizer.from_config(future)
                if _target(future) == 'DiscreteTrajectoryTokenizer' else None)
    offset = 0
    if history is None:
        history = future
    else:
        offset = int(future.get('num_bins', 3000 if discrete else 1000))
    if _target(history) != 'DeltaTrajectoryTokenizer':
        raise CheckpointError(f'{where}: the history tokenizer is {_target(history)!r}; expected '
                              'DeltaTrajectoryTokenizer')
    return DeltaTokenizer.from_config(history), offset, discrete


def load_config(directory: str | Path) -> AlpamayoConfig:
    """Read and check ``config.json`` of a checkpoint directory and of its backbone."""
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"checkpoint '{directory}' is no directory; expected one with "
                              'config.json and safetensors files')
    path = directory / 'config.json'
    config, where = read_json(path), str(path)
    model_type = config.get('model_type')
    if model_type not in MODEL_TYPES:
        raise CheckpointError(f"{where}: 'model_type' is {model_type!r}; expected one of "
                              + ', '.join(MODEL_TYPES))
    vlm_directory = resolve_backbone(_get(config, 'vlm_name_or_path', where, str), directory)
    vlm = read_json(vlm_directory / 'config.json')
    vlm_where = str(vlm_directory / 'config.json')
    vocab_size = _get(config, 'vocab_size', where)
    text_config = {**_get(vlm, 'text_config', vlm_where, dict), 'vocab_size': vocab_size}
    text = TextGeometry.from_config(text_config, f"{vlm_where}: 'text_config'")
    overrides = _get(config, 'expert_cfg', where, dict)
    expert = TextGeometry.from_config({**text_config, **overrides}, f"{where}: 'expert_cfg'")
    for name in ('num_layers', 'num_kv_heads', 'head_dim'):
        if getattr(expert, name) != getattr(text, name):
            raise CheckpointError(
                f"{where}: 'expert_cfg' gives {name} {getattr(expert, name)}; expected the VLM's "
                f'{getattr(text, name)}, since the expert reads its cache')
    diffusion = config.get('diffusion_cfg') or {}
    if diffusion.get('int_method', 'euler') != 'euler':
        raise CheckpointError(f"{where}: 'int_method' is {diffusion['int_method']!r}; expected "
                              "'euler'")
    history_tokenizer, offset, future_tokenizer = _tokenizers(config, where)
    projection = _get(config, 'action_in_proj_cfg', where, dict)
    try:
        unicycle = UnicycleParameters.from_config(_get(config, 'action_space_cfg', where, dict))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f'{where}: {error}') from error
    return AlpamayoConfig(
        directory=directory, vlm_directory=vlm_directory, model_type=model_type,
        vocab_size=vocab_size,
        traj_vocab_size=_get(config, 'traj_vocab_size', where),
        traj_token_start_idx=_get(config, 'traj_token_start_idx', where),
        traj_token_ids=_get(config, 'traj_token_ids', where, dict),
        add_special_tokens=bool(config.get('add_special_tokens', True)),
        tokens_per_history_traj=_get(config, 'tokens_per_history_traj', where),
        history_tokenizer=history_tokenizer, history_token_offset=offset,
        future_tokenizer=future_tokenizer, unicycle=unicycle,
        num_inference_steps=int(diffusion.get('num_inference_steps', 10)),
        action_projection=ActionProjectionGeometry(
            hidden_size=_get(projection, 'hidden_size', where),
            num_enc_layers=_get(projection, 'num_enc_layers', where),
            max_freq=float(_get(projection, 'max_freq', where, float)),
            num_fourier_feats=_get(projection, 'num_fourier_feats', where)),
        text=text,
        vision=VisionGeometry.from_config(_get(vlm, 'vision_config', vlm_where, dict),
                                          f"{vlm_where}: 'vision_config'"),
        expert=expert,
        expert_causal=not config.get('expert_non_causal_attention', True),
        tie_word_embeddings=bool(vlm.get('tie_word_embeddings', False)),
        image_token_id=_get(vlm, 'image_token_id', vlm_where),
        min_pixels=config.get('min_pixels') or DEFAULT_MIN_PIXELS,
        max_pixels=config.get('max_pixels') or DEFAULT_MAX_PIXELS)
