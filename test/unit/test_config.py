"""Reading a checkpoint's configuration: every size from the file, every mistake named."""

from __future__ import annotations

import json
import shutil

import pytest
import synthetic
from golden_data import GOLDEN, R1, V1_5, edit_json

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.trajectory_tokens import DeltaTokenizer, DiscreteTokenizer


@pytest.fixture
def directory(tmp_path):
    """A checkpoint directory without weights, to be changed."""
    for name in ('r1', 'vlm'):
        (tmp_path / name).mkdir()
        shutil.copy(GOLDEN / name / 'config.json', tmp_path / name)
    return tmp_path / 'r1'


def edit(directory, path, value):
    """Set (or with ``...`` delete) a value at a path such as 'expert_cfg.head_dim'; a path that
    begins with 'vlm:' is in the backbone's configuration."""
    file = directory / 'config.json'
    if path.startswith('vlm:'):
        file, path = directory.parent / 'vlm' / 'config.json', path[4:]

    def change(config):
        *parents, last = path.split('.')
        for parent in parents:
            config = config[parent]
        if value is ...:
            del config[last]
        else:
            config[last] = value
    edit_json(file, change)


def test_golden_r1():
    config = load_config(R1)
    assert config.model_type == 'alpamayo_r1'
    assert (config.vocab_size, config.traj_vocab_size) == (538, 96)
    assert (config.traj_token_start_idx, config.tokens_per_history_traj) == (414, 48)
    assert config.traj_token_ids['future_start'] == 522
    assert config.history_tokenizer == DeltaTokenizer(bins=32)
    assert config.future_tokenizer == DiscreteTokenizer(bins=64)
    assert config.history_token_offset == 64
    assert (config.unicycle.n_waypoints, config.unicycle.dt) == (64, 0.1)
    assert (config.unicycle.accel_std, config.unicycle.curvature_std) == (0.68, 0.026)
    assert config.num_inference_steps == 10 and not config.expert_causal
    assert (config.text.vocab_size, config.text.num_layers, config.text.num_kv_heads) == (538, 4, 2)
    assert (config.text.rope_theta, config.text.mrope_section) == (5e6, (4, 2, 2))
    assert (config.expert.hidden_size, config.expert.num_layers) == (48, 4)
    assert config.vision.deepstack_indexes == (1, 2, 3) and config.vision.patch_values == 1536
    assert (config.min_pixels, config.max_pixels) == (163840, 196608)
    assert config.vlm_directory == (GOLDEN / 'vlm').resolve()
    assert not config.accepts_navigation and not config.names_cameras


def test_golden_1_5():
    config = load_config(V1_5)
    assert config.model_type == 'alpamayo1_5'
    assert config.accepts_navigation and config.names_cameras


@pytest.mark.parametrize('sizes', [synthetic.DEEP, synthetic.WIDE], ids=['deep', 'wide'])
def test_other_sizes(tmp_path, sizes):
    own, backbone = synthetic.configs(sizes)
    (tmp_path / 'backbone').mkdir()
    (tmp_path / 'backbone' / 'config.json').write_text(json.dumps(backbone))
    (tmp_path / 'config.json').write_text(json.dumps(own))
    config = load_config(tmp_path)
    assert config.text.num_layers == config.expert.num_layers == sizes.text['num_hidden_layers']
    assert config.text.head_dim == sizes.text['head_dim']
    assert config.text.rms_norm_eps == sizes.text['rms_norm_eps']
    assert config.text.attention_bias == sizes.text['attention_bias'] == (
        config.expert.attention_bias)
    assert config.expert.num_heads == sizes.expert['num_attention_heads']
    assert config.vision.patch_size == 8
    assert (config.unicycle.n_waypoints, config.unicycle.dt) == (
        sizes.space['n_waypoints'], sizes.space['dt'])
    assert config.history_tokenizer == DeltaTokenizer(sizes.bins, (-3, -2, -5), (5, 2, 5))
    assert config.history_token_offset == sizes.future_bins


@pytest.mark.parametrize('rope', [
    {'rope_parameters': {'rope_theta': 7e5, 'mrope_section': [4, 2, 2], 'rope_type': 'default'}},
    {'rope_theta': 7e5, 'rope_scaling': {'mrope_section': [4, 2, 2]}}])
def test_both_ways_to_write_rope(directory, rope):
    def change(config):
        for key in ('rope_theta', 'rope_scaling'):
            del config['text_config'][key]
        config['text_config'] |= rope
    edit_json(directory.parent / 'vlm' / 'config.json', change)
    text = load_config(directory).text
    assert (text.rope_theta, text.mrope_section) == (7e5, (4, 2, 2))


def test_image_budget_of_the_checkpoint(directory):
    edit(directory, 'min_pixels', 5000)
    edit(directory, 'max_pixels', 7000)
    config = load_config(directory)
    assert (config.min_pixels, config.max_pixels) == (5000, 7000)


def test_defaults(directory):
    for path in ('hist_traj_tokenizer_cfg.num_bins', 'hist_traj_tokenizer_cfg.ego_xyz_min',
                 'hist_traj_tokenizer_cfg.ego_xyz_max', 'diffusion_cfg.num_inference_steps',
                 'expert_non_causal_attention', 'vlm:text_config.rms_norm_eps'):
        edit(directory, path, ...)
    edit(directory, 'traj_vocab_size', 1064)
    config = load_config(directory)
    assert config.history_tokenizer == DeltaTokenizer(1000, (-4, -4, -10), (4, 4, 10))
    assert config.num_inference_steps == 10 and not config.expert_causal
    assert config.text.rms_norm_eps == 1e-6


def test_one_tokenizer_for_history_and_future(directory):
    edit(directory, 'hist_traj_tokenizer_cfg', None)
    edit(directory, 'traj_tokenizer_cfg', {'_target_': 'any.DeltaTrajectoryTokenizer',
                                           'num_bins': 40})
    config = load_config(directory)
    assert config.history_tokenizer.bins == 40
    assert config.history_token_offset == 0 and config.future_tokenizer is None


def test_delta_tokenizer_for_the_future(directory):
    edit(directory, 'traj_tokenizer_cfg', {'_target_': 'any.DeltaTrajectoryTokenizer',
                                           'num_bins': 60})
    assert load_config(directory).history_token_offset == 60


def test_backbone_by_absolute_path(directory, tmp_path):
    edit(directory, 'vlm_name_or_path', str(tmp_path / 'vlm'))
    assert load_config(directory).vlm_directory == (tmp_path / 'vlm').resolve()


def test_backbone_by_hub_name(directory, tmp_path, monkeypatch):
    import huggingface_hub
    edit(directory, 'vlm_name_or_path', 'Someone/Model')
    asked = []

    def download(name, **options):
        asked.append((name, options['allow_patterns']))
        return str(tmp_path / 'vlm')
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
    assert load_config(directory).vlm_directory == tmp_path / 'vlm'
    assert asked[0][0] == 'Someone/Model'
    assert not any('safetensors' in pattern for pattern in asked[0][1])

    def fail(name, **options):
        raise OSError('no route')
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', fail)
    with pytest.raises(CheckpointError, match=r"'Someone/Model': neither.*no route"):
        load_config(directory)


@pytest.mark.parametrize('name', ['../nowhere', 'nowhere', '/nowhere/at/all', './a/b', 'a/b/c'])
def test_backbone_that_is_nowhere(directory, name, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, 'snapshot_download',
                        lambda *args, **options: pytest.fail('the hub was asked'))
    edit(directory, 'vlm_name_or_path', name)
    with pytest.raises(CheckpointError, match=f"'vlm_name_or_path' is '{name}'.*no directory"):
        load_config(directory)


REQUIRED = ['model_type', 'vlm_name_or_path', 'vocab_size', 'traj_vocab_size',
            'traj_token_start_idx', 'traj_token_ids', 'tokens_per_history_traj',
            'traj_tokenizer_cfg', 'action_space_cfg', 'action_in_proj_cfg',
            'action_in_proj_cfg.hidden_size', 'action_in_proj_cfg.num_enc_layers',
            'action_in_proj_cfg.max_freq', 'action_in_proj_cfg.num_fourier_feats', 'expert_cfg',
            'vlm:text_config', 'vlm:vision_config', 'vlm:image_token_id',
            'vlm:text_config.hidden_size', 'vlm:text_config.intermediate_size',
            'vlm:text_config.num_hidden_layers', 'vlm:text_config.num_attention_heads',
            'vlm:text_config.num_key_value_heads', 'vlm:text_config.head_dim',
            'vlm:text_config.rope_theta', 'vlm:text_config.rope_scaling',
            'vlm:text_config.rope_scaling.mrope_section', 'vlm:vision_config.depth',
            'vlm:vision_config.hidden_size', 'vlm:vision_config.intermediate_size',
            'vlm:vision_config.num_heads', 'vlm:vision_config.in_channels',
            'vlm:vision_config.patch_size', 'vlm:vision_config.spatial_merge_size',
            'vlm:vision_config.temporal_patch_size', 'vlm:vision_config.out_hidden_size',
            'vlm:vision_config.num_position_embeddings',
            'vlm:vision_config.deepstack_visual_indexes']


@pytest.mark.parametrize('path', REQUIRED)
@pytest.mark.parametrize('value', [..., None, 'x', -1, [], True], ids=repr)
def test_a_required_value_that_is_missing_or_wrong_is_named(directory, path, value):
    if value == 'x' and path == 'vlm_name_or_path':
        value = 'no-such-directory'
    if value == [] and path.endswith('deepstack_visual_indexes'):
        value = [99]
    edit(directory, path, value)
    with pytest.raises(CheckpointError) as caught:
        load_config(directory)
    key = path.replace('vlm:', '').split('.')[-1]
    assert f"'{key}'" in str(caught.value)
    assert 'config.json' in str(caught.value) or key == 'vlm_name_or_path'


@pytest.mark.parametrize('path, value, message', [
    ('model_type', 'alpamayo_r9', "'model_type' is 'alpamayo_r9'; expected one of alpamayo_r1"),
    ('traj_tokenizer_cfg._target_', 'a.Other', "names 'Other'; expected DiscreteTrajectory"),
    ('hist_traj_tokenizer_cfg._target_', 'a.DiscreteTrajectoryTokenizer',
     "history tokenizer is 'DiscreteTrajectoryTokenizer'; expected DeltaTrajectoryTokenizer"),
    ('hist_traj_tokenizer_cfg', 'x', "'hist_traj_tokenizer_cfg' is 'x'; expected dict"),
    ('hist_traj_tokenizer_cfg.num_bins', 1, "'num_bins' is 1; expected at least 2"),
    ('hist_traj_tokenizer_cfg.num_bins', 33, "'traj_vocab_size' is 96; expected at least 97"),
    ('hist_traj_tokenizer_cfg.ego_xyz_min', [1, 2], r"'ego_xyz_min' is \[1, 2\]; expected 3"),
    ('hist_traj_tokenizer_cfg.ego_xyz_max', 4, "'ego_xyz_max' is 4; expected 3 numbers"),
    ('hist_traj_tokenizer_cfg.ego_xyz_max', [4, -4, 10], "'ego_xyz_min' is .* less than"),
    ('hist_traj_tokenizer_cfg.predict_yaw', True, "'predict_yaw' is True; expected 48 and False"),
    ('traj_tokenizer_cfg.num_bins', '64', "'num_bins' is '64'"),
    ('traj_tokenizer_cfg.dims_min', [-1, 'x'], "'dims_min' is .*expected 2 numbers"),
    ('tokens_per_history_traj', 32, "'tokens_per_history_traj' is 32 .*expected 48"),
    ('action_space_cfg.wheelbase', 2.7, "unknown key 'wheelbase'; expected some of .*'dt'"),
    ('action_space_cfg.dt', 0, 'dt is 0; expected a number above 0'),
    ('action_space_cfg.dt', None, 'dt is None; expected a finite number'),
    ('action_space_cfg.accel_std', -1.0, 'accel_std is -1.0; expected a number above 0'),
    ('action_space_cfg.curvature_mean', 'x', "curvature_mean is 'x'; expected a finite number"),
    ('action_space_cfg.n_waypoints', 6.4, 'n_waypoints is 6.4; expected a whole number'),
    ('action_space_cfg.accel_bounds', ['x', 1], 'accel_bounds is .*expected a finite number'),
    ('diffusion_cfg.int_method', 'heun', "'int_method' is 'heun'; expected 'euler'"),
    ('diffusion_cfg.num_inference_steps', 0, "'num_inference_steps' is 0; expected at least 1"),
    ('diffusion_cfg', 'x', "'diffusion_cfg' is 'x'; expected dict"),
    ('expert_cfg.num_key_value_heads', 4, r"num_kv_heads 4; expected the VLM's 2"),
    ('expert_cfg.head_dim', 8, "'mrope_section' is .*half of head_dim 8"),
    ('expert_cfg.num_hidden_layers', 3, "num_layers 3; expected the VLM's 4"),
    ('expert_cfg.num_attention_heads', 3, "'num_attention_heads' is 3; expected a multiple of"),
    ('min_pixels', 'x', "'min_pixels' is 'x'; expected"),
    ('vlm:text_config.num_key_value_heads', 0, "'num_key_value_heads' is 0; expected at least 1"),
    ('vlm:text_config.rope_scaling.mrope_section', [4, 2], r"'mrope_section' is \[4, 2\]"),
    ('vlm:text_config.rope_scaling.mrope_section', [4, 2, 3], 'half of head_dim 16'),
    ('vlm:text_config.rope_scaling.rope_type', 'yarn', 'expected the interleaved default'),
    ('vlm:text_config.rope_scaling.mrope_interleaved', False, 'expected the interleaved default'),
    ('vlm:text_config.hidden_act', 'gelu', "'hidden_act' is 'gelu'; expected 'silu'"),
    ('vlm:text_config.rope_theta', float('nan'), "'rope_theta' is nan; expected a finite number"),
    ('vlm:vision_config.hidden_act', 'relu', "'hidden_act' is 'relu'; expected 'gelu_py"),
    ('vlm:vision_config.num_heads', 3, "'hidden_size' is 32; expected a multiple of 4 times"),
    ('vlm:vision_config.num_position_embeddings', 2300, 'is 2300; expected a square'),
    ('vlm:vision_config.deepstack_visual_indexes', [1, 4], r'is \[1, 4\]; expected different'),
    ('vlm:vision_config.out_hidden_size', 60, "'out_hidden_size' is 60; expected .* 64"),
])
def test_a_value_that_does_not_fit_is_named(directory, path, value, message):
    edit(directory, path, value)
    with pytest.raises(CheckpointError, match=message):
        load_config(directory)


def test_missing_and_malformed_files(directory, tmp_path):
    with pytest.raises(CheckpointError, match="checkpoint '.*nowhere' is no directory"):
        load_config(tmp_path / 'nowhere')
    (tmp_path / 'vlm' / 'config.json').write_text('[1]')
    with pytest.raises(CheckpointError, match='holds a list; expected a JSON object'):
        load_config(directory)
    (directory / 'config.json').write_text('{"a": ')
    with pytest.raises(CheckpointError, match='config.json cannot be read as JSON'):
        load_config(directory)
    (directory / 'config.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(CheckpointError, match='cannot be read as JSON'):
        load_config(directory)
    (directory / 'config.json').unlink()
    with pytest.raises(CheckpointError, match='config.json does not exist'):
        load_config(directory)
