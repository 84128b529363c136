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
from alpamayo_ros.model.geometry import ActionProjectionGeometry, TextGeometry, VisionGeometry, get
from alpamayo_ros.model.trajectory_tokens import DeltaTokenizer, DiscreteTokenizer
from alpamayo_ros.model.unicycle import UnicycleParameters
from alpamayo_ros.types import HISTORY_STEPS

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
    future = get(config, 'traj_tokenizer_cfg', where, dict)
    history = get(config, 'hist_traj_tokenizer_cfg', where, dict, default=future)
    if _target(future) not in ('DiscreteTrajectoryTokenizer', 'DeltaTrajectoryTokenizer'):
        raise CheckpointError(f"{where}: 'traj_tokenizer_cfg' names {_target(future)!r}; expected "
                              'DiscreteTrajectoryTokenizer or DeltaTrajectoryTokenizer')
    if _target(history) != 'DeltaTrajectoryTokenizer':
        raise CheckpointError(f'{where}: the history tokenizer is {_target(history)!r}; expected '
                              'DeltaTrajectoryTokenizer')
    discrete = (DiscreteTokenizer.from_config(future)
                if _target(future) == 'DiscreteTrajectoryTokenizer' else None)
    own = history is not future
    delta = DeltaTokenizer.from_config(history)
    offset = (discrete or DeltaTokenizer.from_config(future)).bins if own else 0
    per_pose = get(config, 'tokens_per_history_traj', where) / HISTORY_STEPS
    if per_pose != 3 or delta.yaw:
        raise CheckpointError(
            f"{where}: 'tokens_per_history_traj' is {config['tokens_per_history_traj']} and the "
            f"history tokenizer's 'predict_yaw' is {delta.yaw}; expected {3 * HISTORY_STEPS} and "
            'False, three tokens for each ego pose')
    if offset + delta.bins > get(config, 'traj_vocab_size', where):
        raise CheckpointError(f"{where}: 'traj_vocab_size' is {config['traj_vocab_size']}; "
                              f"expected at least {offset + delta.bins}, the tokenizers' bins")
    return delta, offset, discrete


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
    vlm_directory = resolve_backbone(get(config, 'vlm_name_or_path', where, str), directory)
    vlm = read_json(vlm_directory / 'config.json')
    vlm_where = str(vlm_directory / 'config.json')
    vocab_size = get(config, 'vocab_size', where)
    text_config = {**get(vlm, 'text_config', vlm_where, dict), 'vocab_size': vocab_size}
    text = TextGeometry.from_config(text_config, f"{vlm_where}: 'text_config'")
    vision = VisionGeometry.from_config(get(vlm, 'vision_config', vlm_where, dict),
                                        f"{vlm_where}: 'vision_config'")
    overrides = get(config, 'expert_cfg', where, dict)
    expert = TextGeometry.from_config({**text_config, **overrides}, f"{where}: 'expert_cfg'")
    for name in ('num_layers', 'num_kv_heads', 'head_dim'):
        if getattr(expert, name) != getattr(text, name):
            raise CheckpointError(
                f"{where}: 'expert_cfg' gives {name} {getattr(expert, name)}; expected the VLM's "
                f'{getattr(text, name)}, since the expert reads its cache')
    if vision.out_hidden_size != text.hidden_size:
        raise CheckpointError(f"{vlm_where}: 'out_hidden_size' is {vision.out_hidden_size}; "
                              f"expected the text decoder's 'hidden_size' {text.hidden_size}")
    diffusion = get(config, 'diffusion_cfg', where, dict, default={})
    if diffusion.get('int_method', 'euler') != 'euler':
        raise CheckpointError(f"{where}: 'int_method' is {diffusion['int_method']!r}; expected "
                              "'euler'")
    min_pixels = get(config, 'min_pixels', where, default=DEFAULT_MIN_PIXELS)
    max_pixels = get(config, 'max_pixels', where, default=DEFAULT_MAX_PIXELS)
    try:
        history_tokenizer, offset, future_tokenizer = _tokenizers(config, where)
        unicycle = UnicycleParameters.from_config(get(config, 'action_space_cfg', where, dict))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f'{where}: {error}') from error
    return AlpamayoConfig(
        directory=directory, vlm_directory=vlm_directory, model_type=model_type,
        vocab_size=vocab_size,
        traj_vocab_size=get(config, 'traj_vocab_size', where),
        traj_token_start_idx=get(config, 'traj_token_start_idx', where, least=0),
        traj_token_ids=get(config, 'traj_token_ids', where, dict),
        add_special_tokens=bool(config.get('add_special_tokens', True)),
        tokens_per_history_traj=3 * HISTORY_STEPS,
        history_tokenizer=history_tokenizer, history_token_offset=offset,
        future_tokenizer=future_tokenizer, unicycle=unicycle,
        num_inference_steps=get(diffusion, 'num_inference_steps', where, default=10),
        action_projection=ActionProjectionGeometry.from_config(
            get(config, 'action_in_proj_cfg', where, dict), f"{where}: 'action_in_proj_cfg'"),
        text=text, vision=vision, expert=expert,
        expert_causal=not config.get('expert_non_causal_attention', True),
        tie_word_embeddings=bool(vlm.get('tie_word_embeddings', False)),
        image_token_id=get(vlm, 'image_token_id', vlm_where, least=0),
        min_pixels=min_pixels, max_pixels=max_pixels)
