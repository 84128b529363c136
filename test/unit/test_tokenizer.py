"""The tokenizer: added tokens in order, ids checked against the checkpoint."""

from __future__ import annotations

import dataclasses
import json

import pytest
from golden_data import GOLDEN, R1, V1_5, copy_checkpoint, edit_json
from reference_model import load_reference_tokenizer, special_names

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.tokenizer import load_tokenizer, special, special_token_names

TEXTS = ('', 'Turn left in 30m', "  Stop!\nThe café is 12.5 m ahead; don't 走 🚗 ",
         '<|cot_start|>slow <|cot_end|><|traj_future_start|>', '<i0><i95>x<i96>',
         '<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>')


@pytest.fixture(scope='module', params=[R1, V1_5], ids=lambda path: path.name)
def pair(request):
    """Our tokenizer and the reference's, with the configuration."""
    config = load_config(request.param)
    raw = json.loads((request.param / 'config.json').read_text())
    return load_tokenizer(config), load_reference_tokenizer(GOLDEN / 'vlm', raw), config


@pytest.fixture
def checkpoint(tmp_path):
    return copy_checkpoint(R1, tmp_path)


def load(checkpoint):
    return load_tokenizer(load_config(checkpoint))


@pytest.mark.parametrize('text', TEXTS)
def test_ids_are_those_of_the_tokenizers_library(pair, text):
    ours, reference, _ = pair
    assert ours.encode(text) == reference.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize('text', TEXTS)
def test_decoding_gives_the_text_back_with_special_tokens(pair, text):
    ours, _, _ = pair
    assert ours.decode(ours.encode(text)) == text


def test_added_tokens(pair):
    ours, reference, config = pair
    assert len(ours.backend) == reference.get_vocab_size() == 538
    names = special_names(config.model_type)
    assert list(special_token_names(config)) == names and len(set(names)) == 29
    assert ours.encode('<i0>') == [414] and ours.encode('<i95>') == [509]
    for place, name in enumerate(name for name in names if name != 'image_pad'):
        assert ours.encode(special(name)) == [510 + place]
        token = ours.backend.added_tokens_decoder[510 + place]
        assert token.special and not token.normalized
    # It exists in the backbone already.
    assert ours.encode(special('image_pad')) == [412] == [ours.image_pad]
    assert (ours.history, ours.future_start) == (525, 522)


def test_padding_names_of_1_5():
    names = special_token_names(load_config(V1_5))
    assert 'meta_action_start' not in names and 'route_start' in names
    assert [name for name in names if 'padding' in name] == [f'_padding_{i}' for i in range(9)]


def test_only_trajectory_tokens(checkpoint):
    def change(config):
        config |= {'add_special_tokens': False, 'traj_token_ids': {
            'history': 510, 'future': 511, 'history_start': 512, 'future_start': 513,
            'history_end': 514, 'future_end': 515}}
    edit_json(checkpoint / 'config.json', change)
    tokenizer = load(checkpoint)
    assert len(tokenizer.backend) == 516
    assert (tokenizer.history, tokenizer.future_start) == (510, 513)
    assert len(tokenizer.encode('<|cot_start|>')) > 1


@pytest.mark.parametrize('key, value, message', [
    ('traj_token_start_idx', 413, "token <i0> has id 414; expected 413, config.json's "
                                  "'traj_token_start_idx'"),
    ('traj_vocab_size', 97, r'token <\|traj_history\|> has id 526; expected 525'),
    ('vocab_size', 537, "538 tokens with the added ones; expected at most .*'vocab_size' 537"),
    ('model_type', 'alpamayo1_5', None)])
def test_a_tokenizer_that_does_not_fit_is_named(checkpoint, key, value, message):
    edit_json(checkpoint / 'config.json', lambda config: config.update({key: value}))
    if message is None:  # the same ids under other names: fits
        assert load(checkpoint).future_start == 522
        return
    with pytest.raises(CheckpointError, match=message):
        load(checkpoint)


@pytest.mark.parametrize('key', ['history', 'future', 'history_start', 'future_start',
                                 'history_end', 'future_end'])
def test_every_trajectory_id_is_checked(checkpoint, key):
    edit_json(checkpoint / 'config.json',
              lambda config: config['traj_token_ids'].update({key: 500}))
    with pytest.raises(CheckpointError, match=rf'traj_{key}\|> has id 5..; expected 500, '
                       rf"config.json's 'traj_token_ids.{key}'"):
        load(checkpoint)


@pytest.mark.parametrize('key', ['history', 'future_start'])
def test_needed_trajectory_ids(checkpoint, key):
    edit_json(checkpoint / 'config.json', lambda config: config['traj_token_ids'].pop(key))
    with pytest.raises(CheckpointError, match=f"'traj_token_ids' lacks '{key}'"):
        load(checkpoint)


def test_image_placeholder_of_another_backbone(checkpoint):
    edit_json(checkpoint.parent / 'vlm' / 'config.json',
              lambda config: config.update(image_token_id=411))
    with pytest.raises(CheckpointError, match=r'image_pad\|> has id 412; expected 411'):
        load(checkpoint)


def test_files_that_hold_no_tokenizer(checkpoint, tmp_path):
    (tmp_path / 'vlm' / 'tokenizer.json').write_text('{}')
    with pytest.raises(CheckpointError, match='vlm has no usable tokenizer'):
        load(checkpoint)
    config = dataclasses.replace(load_config(checkpoint), vlm_directory=tmp_path / 'nowhere')
    with pytest.raises(CheckpointError, match='nowhere has no usable tokenizer'):
        load_tokenizer(config)
