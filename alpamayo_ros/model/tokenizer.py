"""The backbone's tokenizer with the trajectory and special tokens added as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.config import AlpamayoConfig

_TRAJECTORY_TOKENS = ('traj_history', 'traj_future', 'traj_history_start', 'traj_future_start',
                      'traj_history_end', 'traj_future_end')
_SPECIAL_TOKENS = (
    'prompt_start', 'prompt_end', 'image_start', 'image_pre_tkn', 'image_end',
    'traj_history_start', 'traj_history_pre_tkn', 'traj_history_end', 'cot_start', 'cot_end',
    'meta_action_start', 'meta_action_end', 'traj_future_start', 'traj_future_pre_tkn',
    'traj_future_end', 'traj_history', 'traj_future', 'image_pad', 'vectorized_wm',
    'vectorized_wm_start', 'vectorized_wm_end', 'vectorized_wm_pre_tkn', 'route_start',
    'route_pad', 'route_end', 'question_start', 'question_end', 'answer_start', 'answer_end')
_PADDING_IN_1_5 = (
    'image_pre_tkn', 'traj_history_pre_tkn', 'meta_action_start', 'meta_action_end',
    'traj_future_pre_tkn', 'vectorized_wm', 'vectorized_wm_start', 'vectorized_wm_end',
    'vectorized_wm_pre_tkn')


def special(name: str) -> str:
    """The token of that name as it stands in text."""
    return f'<|{name}|>'


def special_token_names(config: AlpamayoConfig) -> tuple[str, ...]:
    """The names added to the backbone's tokenizer, in order."""
    if not config.add_special_tokens:
        return _TRAJECTORY_TOKENS
    if config.model_type == 'alpamayo_r1':
        return _SPECIAL_TOKENS
    padding = {name: f'_padding_{index}' for index, name in enumerate(_PADDING_IN_1_5)}
    return tuple(padding.get(name, name) for name in _SPECIAL_TOKENS)


@dataclass(frozen=True)
class AlpamayoTokenizer:
    """Text to ids and back. ``future_start`` ends a reasoning, ``history`` is a placeholder."""

    backend: Any
    future_start: int
    history: int
    image_pad: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, special tokens recognised, nothing added."""
        return self.backend(text, add_special_tokens=False)['input_ids']

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        return self.backend.decode(list(ids), skip_special_tokens=False,
                                   clean_up_tokenization_spaces=False)

    def apply_chat_template(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as text, ending inside the last one."""
        return self.backend.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=False, continue_final_message=True)


def load_tokenizer(config: AlpamayoConfig) -> AlpamayoTokenizer:
    """Load the backbone's tokenizer and add the checkpoint's tokens.

    ``CheckpointError`` names the token whose id is not the one of ``config.json``, or the
    vocabulary sizes that do not fit.
    """
    from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast
    where = config.vlm_directory
    # tokenizer.json is what the model was trained with. AutoTokenizer of transformers 5 rebuilds a
    # Qwen2 tokenizer with a splitting rule of its own instead, so it only serves without the file.
    loader = PreTrainedTokenizerFast if (where / 'tokenizer.json').exists() else AutoTokenizer
    try:
        backend = loader.from_pretrained(str(where), local_files_only=True)
    except Exception as error:  # the library raises many unrelated types
        raise CheckpointError(f'{where} has no usable tokenizer: {type(error).__name__}: '
                              f'{error}') from error
    backend.add_tokens([f'<i{index}>' for index in range(config.traj_vocab_size)])
    backend.add_tokens([AddedToken(special(name), special=True, normalized=False)
                        for name in special_token_names(config)], special_tokens=True)

    def require(text: str, expected: int, key: str) -> int:
        found = backend.convert_tokens_to_ids(text)
        if found != expected:
            raise CheckpointError(
                f"{where}: token {text} has id {found}; expected {expected}, config.json's {key}. "
                "'vlm_name_or_path' must name the tokenizer the checkpoint was trained with")
        return expected

    require('<i0>', config.traj_token_start_idx, "'traj_token_start_idx'")
    ids = config.traj_token_ids
    for key in ('history', 'future_start', 'history_start', 'history_end', 'future', 'future_end'):
        if key in ids:
            require(special(f'traj_{key}'), ids[key], f"'traj_token_ids.{key}'")
    image_pad = require(special('image_pad'), config.image_token_id, "backbone's 'image_token_id'")
    if len(backend) > config.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has {len(backend)} tokens with the added ones; expected at "
            f"most config.json's 'vocab_size' {config.vocab_size}")
    for key in ('history', 'future_start'):
        if key not in ids:
            raise CheckpointError(f"{config.directory}: 'traj_token_ids' lacks {key!r}")
    return AlpamayoTokenizer(backend, ids['future_start'], ids['history'], image_pad)
