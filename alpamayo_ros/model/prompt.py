"""The prompt: chat messages, image placeholders, the ego history as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alpamayo_ros.cameras import camera_by_id
from alpamayo_ros.errors import ObservationError
from alpamayo_ros.model.config import AlpamayoConfig
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer, special

SYSTEM = 'You are a driving assistant that generates safe and accurate actions.'
INSTRUCTION = ('output the chain-of-thought reasoning of the driving process, then output the '
               'future trajectory.')


@dataclass(frozen=True)
class Prompt:
    """``text`` as the template gives it (one placeholder an image); ``ids``: (L,) int64 with a
    placeholder per image token and the history's tokens still to be put in."""

    text: str
    ids: Tensor


def prompt_text(config: AlpamayoConfig, tokenizer: AlpamayoTokenizer, camera_ids: Sequence[int],
                frames_per_camera: int, *, navigation: str | None = None,
                question: str | None = None) -> str:
    """The prompt as text.

    Images are camera-major in the order given. ``navigation`` and ``question`` are for checkpoints
    that take them; ``ObservationError`` for those that do not.
    """
    if (navigation or question) and not config.accepts_navigation:
        what = 'a navigation instruction' if navigation else 'a question'
        raise ObservationError(f'{what} was given, but {config.model_type} takes none; expected '
                               'alpamayo1_5')
    content: list[dict[str, Any]] = []
    for camera_id in camera_ids:
        if config.names_cameras:
            content.append({'type': 'text', 'text': f'{camera_by_id(camera_id).prompt_name}: '})
        for frame in range(frames_per_camera):
            if config.names_cameras:
                content.append({'type': 'text', 'text': f'frame {frame} '})
            content.append({'type': 'image'})
    history = (special('traj_history_start')
               + special('traj_history') * config.tokens_per_history_traj
               + special('traj_history_end'))
    route = (f"{special('route_start')}{navigation}{special('route_end')}" if navigation else '')
    if question:
        ask = f"{special('question_start')}{question}{special('question_end')}"
        start = special('answer_start')
    else:
        ask, start = INSTRUCTION, special('cot_start')
    content.append({'type': 'text', 'text': history + route + ask})
    return tokenizer.apply_chat_template([
        {'role': 'system', 'content': [{'type': 'text', 'text': SYSTEM}]},
        {'role': 'user', 'content': content},
        {'role': 'assistant', 'content': [{'type': 'text', 'text': start}]}])


def tokenize_prompt(text: str, tokenizer: AlpamayoTokenizer,
                    image_tokens: Sequence[int]) -> Prompt:
    """Ids of a prompt's text, image i standing as ``image_tokens[i]`` placeholders."""
    pad = special('image_pad')
    parts = text.split(pad)
    if len(parts) != len(image_tokens) + 1:
        raise ObservationError(f'the prompt has {len(parts) - 1} images; expected '
                               f'{len(image_tokens)}')
    expanded = parts[0] + ''.join(pad * count + part for count, part in
                                  zip(image_tokens, parts[1:], strict=True))
    return Prompt(text, torch.tensor(tokenizer.encode(expanded), dtype=torch.long))


def fuse_history(ids: Tensor, history_xyz: Tensor, config: AlpamayoConfig,
                 tokenizer: AlpamayoTokenizer) -> Tensor:
    """Put the ego history's tokens in place of the placeholders.

    ids (L,); history_xyz (16, 3) m in the ego frame at t0, oldest first. Returns (L,).
    """
    tokens = config.history_tokenizer.encode(history_xyz.float())
    tokens = tokens + config.traj_token_start_idx + config.history_token_offset
    where = (ids == tokenizer.history).nonzero().squeeze(-1)
    if where.numel() != tokens.numel():
        raise ObservationError(f'the history gives {tokens.numel()} tokens; expected '
                               f'{where.numel()}, the placeholders of the prompt')
    fused = ids.clone()
    fused[where] = tokens
    return fused
