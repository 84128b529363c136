"""The nano checkpoint: its sizes, its configuration files, its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alpamayo_ros.bench.geometry import BASE_SPECIAL_TOKENS, Geometry, Transformer
from alpamayo_ros.bench.synthetic import CHAT_TEMPLATE
from alpamayo_ros.cameras import CAMERAS
from alpamayo_ros.model.prompt import INSTRUCTION, SYSTEM
from alpamayo_ros.model.tokenizer import special

RENDER_SIZE = (320, 192)
"""Width and height at which the world is rendered for training and evaluation, pixels."""
IMAGE_SIZE = (160, 96)
"""Width and height of what the model sees of such an image, pixels."""


def geometry(base_vocabulary: int) -> Geometry:
    """Sizes of nano around a tokenizer of that many tokens, special ones not counted."""
    return Geometry(
        model_type='alpamayo1_5', text=Transformer(192, 448, 6), expert=Transformer(128, 320, 4),
        vision=Transformer(128, 384, 4), text_layers=6, vision_layers=4, deepstack=(1,),
        kv_heads=2, head_dim=32, mrope_section=(8, 4, 4), base_vocabulary=base_vocabulary,
        trajectory_bins=64, history_bins=128, projection_hidden=128, steps=6)


def write_configuration(directory: Path, texts: Iterable[str]) -> Geometry:
    """Write ``config.json`` and the backbone's folder: everything but the weights.

    ``texts``: what the tokenizer learns its words from, beside the prompt's own.
    """
    backbone = directory / 'vlm'
    backbone.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(texts)
    sizes = geometry(len(tokenizer['model']['vocab']))
    tokenizer['added_tokens'] = [
        {'id': sizes.token(name), 'content': special(name), 'single_word': False, 'lstrip': False,
         'rstrip': False, 'normalized': False, 'special': True} for name in BASE_SPECIAL_TOKENS]
    config = sizes.config()
    # Steps of 0.1 s at up to 16 m/s; the first difference is the oldest position and saturates.
    config['hist_traj_tokenizer_cfg'] |= {'ego_xyz_min': [-0.1, -0.5, -1.0],
                                          'ego_xyz_max': [1.6, 0.5, 1.0]}
    config['action_space_cfg'] |= {
        'accel_mean': 0.0, 'accel_std': 1.5, 'curvature_mean': 0.0, 'curvature_std': 0.05,
        'accel_bounds': [-9.8, 9.8], 'curvature_bounds': [-0.33, 0.33]}
    # Low frequencies: accelerations and curvatures of nano's world are smooth, and neighbouring
    # frequencies this close tell values apart over six standard deviations.
    config['action_in_proj_cfg'] |= {'max_freq': 4.0}
    # Pictures of 16:9, 16:10 and near both become ``IMAGE_SIZE``.
    config |= {'min_pixels': 13000, 'max_pixels': 17000}
    vlm = sizes.backbone_config()
    vlm['text_config'] |= {'rope_theta': 10000.0}
    vlm['vision_config'] |= {'num_position_embeddings': 144}
    _write(backbone / 'config.json', vlm)
    _write(backbone / 'tokenizer.json', tokenizer)
    _write(backbone / 'tokenizer_config.json', {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': special('im_end'),
        'pad_token': special('endoftext'), 'clean_up_tokenization_spaces': False})
    (backbone / 'chat_template.jinja').write_text(CHAT_TEMPLATE, encoding='utf-8')
    # The last one, and whole or not at all: where it is, the others are.
    part = directory / 'config.json.part'
    _write(part, config)
    part.replace(directory / 'config.json')
    return sizes


def _tokenizer(texts: Iterable[str]) -> dict[str, Any]:
    """A byte-level BPE tokenizer for which every word of the world is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = [SYSTEM, INSTRUCTION, 'system\nuser\nassistant\n',
             *(f'{camera.prompt_name}: ' for camera in CAMERAS),
             *(f'frame {index} ' for index in range(8)), *texts]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=4096, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tokenizer.to_str())


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + '\n', encoding='utf-8')
