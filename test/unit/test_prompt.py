"""The prompt's text and ids, and the ego history in it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from golden_data import R1, V1_5, case_info
from reference_model import ReferenceModel
from synthetic import drive

from alpamayo_ros.errors import ObservationError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.prompt import fuse_history, prompt_text, tokenize_prompt
from alpamayo_ros.model.tokenizer import load_tokenizer


@pytest.fixture(scope='module')
def r1():
    config = load_config(R1)
    return config, load_tokenizer(config)


@pytest.fixture(scope='module')
def v1_5():
    config = load_config(V1_5)
    return config, load_tokenizer(config)


def reference(model_type):
    """The reference's prompt without its weights."""
    model = ReferenceModel.__new__(ReferenceModel)
    model.config = {'model_type': model_type}
    return model


@pytest.mark.parametrize('cameras, frames', [((0, 1, 2, 6), 4), ((1,), 1), ((0, 1, 2, 3, 5, 6), 4),
                                             (tuple(range(7)), 2)])
@pytest.mark.parametrize('navigation', [None, 'Turn left in 30m', 'Fahre über <Brücke> & rechts'])
def test_text(r1, v1_5, cameras, frames, navigation):
    for config, tokenizer in (v1_5,) if navigation else (r1, v1_5):
        text = prompt_text(config, tokenizer, cameras, frames, navigation=navigation)
        assert text == reference(config.model_type).prompt_text(cameras, frames, navigation)
        assert text.count('<|image_pad|>') == len(cameras) * frames


def test_r1_names_no_cameras(r1, v1_5):
    assert 'camera' not in prompt_text(*r1, [0, 1], 2)
    assert 'Front left camera: frame 0 <|vision_start|>' in prompt_text(*v1_5, [0, 1], 2)


def test_question(v1_5):
    text = prompt_text(*v1_5, [1], 1, question='What is ahead?')
    assert '<|traj_history_end|><|question_start|>What is ahead?<|question_end|><|im_end|>' in text
    assert text.endswith('<|im_start|>assistant\n<|answer_start|>')
    assert 'chain-of-thought' not in text


@pytest.mark.parametrize('what, words', [('navigation', 'a navigation instruction'),
                                         ('question', 'a question')])
def test_r1_takes_neither_navigation_nor_question(r1, what, words):
    with pytest.raises(ObservationError, match=f'{words} was given, but alpamayo_r1 takes none'):
        prompt_text(*r1, [1], 1, **{what: 'Turn left'})


def test_images_stand_as_many_placeholders_as_they_have_tokens(r1):
    config, tokenizer = r1
    prompt = tokenize_prompt(prompt_text(*r1, [0, 1], 1), tokenizer, [5, 7])
    assert prompt.ids.dtype == torch.long
    runs, length = [], 0
    for token in [*prompt.ids.tolist(), -1]:
        if token == config.image_token_id:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    assert runs == [5, 7]
    assert (prompt.ids == tokenizer.history).sum() == 48
    shortened = tokenizer.decode(prompt.ids).replace('<|image_pad|>' * 7, '<|image_pad|>')
    assert shortened.replace('<|image_pad|>' * 5, '<|image_pad|>') == prompt.text


@pytest.mark.parametrize('tokens', [[5], [5, 7, 9]])
def test_number_of_images_must_fit(r1, tokens):
    with pytest.raises(ObservationError, match=f'has 2 images; expected {len(tokens)}'):
        tokenize_prompt(prompt_text(*r1, [0, 1], 1), r1[1], tokens)


@pytest.mark.parametrize('token, message', [
    ('<|image_pad|>', 'the prompt has 2 images; expected 1'),
    ('<|traj_history|>', 'expected 49, the placeholders')])
def test_navigation_cannot_smuggle_placeholders(v1_5, token, message):
    with pytest.raises(ObservationError, match=message):
        prompt = tokenize_prompt(prompt_text(*v1_5, [1], 1, navigation=f'Turn {token} left'),
                                 v1_5[1], [4])
        fuse_history(prompt.ids, torch.zeros(16, 3), *v1_5)


@pytest.mark.parametrize('checkpoint, name', [(R1, 'greedy_turn'), (V1_5, 'six_cameras_nav')],
                         ids=lambda item: getattr(item, 'name', item))
def test_golden_text(checkpoint, name):
    config, info = load_config(checkpoint), case_info(checkpoint, name)
    ids = info.get('camera_indices') or range(info['cameras'])
    assert prompt_text(config, load_tokenizer(config), ids, info['frames_per_camera'],
                       navigation=info.get('nav_text')) == info['text']


@pytest.mark.parametrize('speed, turn', [(0.0, 0.0), (6.0, 0.3), (55.0, 0.0), (-30.0, -0.5)])
def test_history_replaces_its_placeholders_in_order(r1, speed, turn):
    config, tokenizer = r1
    xyz, _ = drive(speed, turn)
    ids = torch.tensor([7, *[tokenizer.history] * 24, 8, *[tokenizer.history] * 24, 9])
    fused = fuse_history(ids, torch.from_numpy(xyz), config, tokenizer)
    model = reference('alpamayo_r1')
    model.config = json.loads((R1 / 'config.json').read_text())
    expected = model.history_ids(xyz)
    assert fused.tolist() == [7, *expected[:24], 8, *expected[24:], 9]
    # 64 tokens of the future tokenizer come first, 32 of the history's follow.
    assert 414 + 64 <= min(expected) and max(expected) < 414 + 96
    assert (ids == tokenizer.history).sum() == 48


def test_history_without_a_tokenizer_of_its_own_begins_at_the_start(r1):
    config, tokenizer = r1
    config = dataclasses.replace(config, history_token_offset=0)
    ids = torch.full((48,), tokenizer.history)
    assert fuse_history(ids, torch.zeros(16, 3), config, tokenizer).max() < 414 + 32


@pytest.mark.parametrize('placeholders', [0, 47, 49])
def test_history_and_placeholders_must_fit(r1, placeholders):
    ids = torch.full((placeholders + 1,), r1[1].history)
    ids[0] = 1
    with pytest.raises(ObservationError, match=f'gives 48 tokens; expected {placeholders}'):
        fuse_history(ids, torch.from_numpy(np.zeros((16, 3))), *r1)
