"""Writes a checkpoint directory of a chosen geometry with random weights.

It has the released format, so it is loaded by the code that loads any checkpoint. Weights are drawn
from a seed at the scale of trained ones: activations stay near 1, actions too. Reasonings written
by it never end by themselves, so that the number of tokens is what was asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.bench.geometry import BASE_SPECIAL_TOKENS, Geometry
from alpamayo_ros.cameras import CAMERAS
from alpamayo_ros.model.alpamayo import FLOAT32_MODULES, AlpamayoModel
from alpamayo_ros.model.config import AlpamayoConfig, load_config
from alpamayo_ros.model.prompt import INSTRUCTION, SYSTEM
from alpamayo_ros.model.tokenizer import special

_SHARD_BYTES = 4 << 30
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}"
    '<|vision_start|><|image_pad|><|vision_end|>'
    '{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}')
_RESIDUAL_OUTPUTS = ('.o_proj.weight', '.down_proj.weight', '.attn.proj.weight',
                     '.mlp.linear_fc2.weight')
# One channel of the text decoder's residual stream is the same for every token, and only the end
# token's logit reads it, against.
_CONSTANT_CHANNEL = 0
_END_TOKEN_BIAS = 1000.0


def write_checkpoint(geometry: Geometry, directory: Path, *, dtype: torch.dtype = torch.float32,
                     seed: int = 0, shard_bytes: int = _SHARD_BYTES) -> Path:
    """Write config, backbone folder and weights into ``directory``; returns it.

    ``dtype`` of the stored weights; files hold at most about ``shard_bytes``. The same arguments
    give the same bytes.
    """
    backbone = directory / 'vlm'
    backbone.mkdir(parents=True, exist_ok=True)
    _write_json(directory / 'config.json', geometry.config())
    _write_json(backbone / 'config.json', geometry.backbone_config())
    _write_tokenizer(geometry, backbone)
    config = load_config(directory)
    _write_shards(random_weights(config, geometry.token('future_start'), dtype, seed), directory,
                  shard_bytes)
    return directory


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + '\n', encoding='utf-8')


def _write_tokenizer(geometry: Geometry, directory: Path) -> None:
    """A byte-level BPE tokenizer that has learnt the words of the prompt and no others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = [SYSTEM, INSTRUCTION, 'system user assistant',
             *(f'frame {index} {camera.prompt_name}: ' for index, camera in enumerate(CAMERAS))]
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=geometry.base_vocabulary, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    content = json.loads(tokenizer.to_str())
    vocabulary = content['model']['vocab']
    for index in range(len(vocabulary), geometry.base_vocabulary):
        vocabulary[f'unused{index}'] = index
    content['added_tokens'] = [
        {'id': geometry.token(name), 'content': special(name), 'single_word': False,
         'lstrip': False, 'rstrip': False, 'normalized': False, 'special': True}
        for name in BASE_SPECIAL_TOKENS]
    _write_json(directory / 'tokenizer.json', content)
    _write_json(directory / 'tokenizer_config.json', {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': special('im_end'),
        'pad_token': special('endoftext'), 'clean_up_tokenization_spaces': False})
    (directory / 'chat_template.jinja').write_text(CHAT_TEMPLATE, encoding='utf-8')


def random_weights(config: AlpamayoConfig, end_token: int, dtype: torch.dtype, seed: int
                   ) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every weight a checkpoint of ``config`` holds, one after the other."""
    with torch.device('meta'):
        shapes = {name: value.shape for name, value in AlpamayoModel(config).state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    for name, shape in shapes.items():
        value = _weight(name, shape, config, generator)
        if name == 'vlm.lm_head.weight':
            value[:, _CONSTANT_CHANNEL] = 0
            value[end_token, _CONSTANT_CHANNEL] = -_END_TOKEN_BIAS
        elif name == 'vlm.model.language_model.embed_tokens.weight':
            value[:, _CONSTANT_CHANNEL] = 1
        elif name.startswith('vlm.model.language_model.layers.') and name.endswith(
                _RESIDUAL_OUTPUTS):
            value[_CONSTANT_CHANNEL] = 0
        yield name, value if name.startswith(FLOAT32_MODULES) else value.to(dtype)


def _weight(name: str, shape: torch.Size, config: AlpamayoConfig, generator: torch.Generator
            ) -> Tensor:
    module, _, leaf = name.rpartition('.')
    if module == 'action_space':
        return torch.tensor(float(getattr(config.unicycle, leaf)))
    if leaf == 'freqs':
        return torch.logspace(0, math.log10(config.action_projection.max_freq), shape[-1])[None]
    noise = torch.randn(shape, generator=generator)
    if leaf == 'bias':
        return 0.02 * noise
    if len(shape) == 1:  # the weight of a norm
        return 1 + 0.05 * noise
    if 'embed' in name and 'patch_embed' not in name:
        return noise if 'embed_tokens' in name else 0.1 * noise
    scale = shape[1:].numel() ** -0.5
    if name.endswith(_RESIDUAL_OUTPUTS):
        layers = config.vision.depth if '.visual.' in name else config.text.num_layers
        scale *= (2 * layers) ** -0.5
    return scale * noise


def _write_shards(weights: Iterator[tuple[str, Tensor]], directory: Path, shard_bytes: int) -> None:
    """One file where all fits into ``shard_bytes``, otherwise several and an index."""
    from safetensors.torch import save_file
    files: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    total = 0

    def flush() -> None:
        save_file(shard, directory / f'part-{len(files)}.safetensors', {'format': 'pt'})
        files.append(list(shard))
        shard.clear()

    size = 0
    for name, value in weights:
        shard[name] = value.contiguous()
        size, total = size + value.nbytes, total + value.nbytes
        if size >= shard_bytes:
            flush()
            size = 0
    if shard:
        flush()
    if len(files) == 1:
        (directory / 'part-0.safetensors').rename(directory / 'model.safetensors')
        return
    weight_map = {}
    for index, names in enumerate(files):
        title = f'model-{index + 1:05d}-of-{len(files):05d}.safetensors'
        (directory / f'part-{index}.safetensors').rename(directory / title)
        weight_map.update(dict.fromkeys(names, title))
    _write_json(directory / 'model.safetensors.index.json',
                {'metadata': {'total_size': total}, 'weight_map': weight_map})
