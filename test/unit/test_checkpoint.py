"""Loading weights: all of them, nothing twice, and every mistake named."""

from __future__ import annotations

import json
import re
import weakref

import pytest
import safetensors.torch
import torch
from golden_data import R1, V1_5, copy_checkpoint, edit_json, edit_tensors
from reference_model import ReferenceModel
from synthetic import write_weights

from alpamayo_ros.errors import CheckpointError
from alpamayo_ros.model import checkpoint as module
from alpamayo_ros.model.alpamayo import FLOAT32_MODULES
from alpamayo_ros.model.checkpoint import fingerprints, load_model, parse_device, parse_dtype
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.runtime import Runtime

CPU = torch.device('cpu')
WEIGHTS = 'model.safetensors'
EMBEDDING = 'vlm.model.language_model.embed_tokens.weight'


def load(path, dtype=torch.float32):
    return load_model(load_config(path), CPU, dtype)


def refused(path, message):
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.fixture
def r1(tmp_path):
    return copy_checkpoint(R1, tmp_path)


@pytest.mark.parametrize('path', [R1, V1_5], ids=lambda path: path.name)
def test_every_weight_arrives(path):
    weights = safetensors.torch.load_file(path / WEIGHTS)
    model = load(path)
    found = model.state_dict()
    # Statistics are in the weights or in the configuration only.
    assert {name for name in set(found) ^ set(weights)
            if not name.startswith('action_space.')} == set()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_shards_equal_one_file(deep, tmp_path):
    weights = ReferenceModel.from_checkpoint(deep).state_dict()
    sharded = load(deep).state_dict()
    assert set(sharded) == set(weights)
    assert all(torch.equal(sharded[name], weights[name]) for name in weights)
    for name in ('config.json', 'backbone'):
        (tmp_path / name).symlink_to(deep / name)
    write_weights(weights, tmp_path)
    single = load(tmp_path).state_dict()
    assert all(torch.equal(single[name], weights[name]) for name in weights)


class Watched:
    """A safetensors file whose tensors are counted while they live, but for those that stay."""

    live: list = []
    most = 0
    addresses: list = []

    def __init__(self, *args, **kwargs):
        self.file = safetensors.safe_open(*args, **kwargs)

    def __enter__(self):
        self.handle = self.file.__enter__()
        return self

    def __exit__(self, *args):
        return self.file.__exit__(*args)

    def keys(self):
        return self.handle.keys()

    def get_slice(self, name):
        return self.handle.get_slice(name)

    def get_tensor(self, name):
        Watched.most = max(Watched.most, sum(item() is not None for item in Watched.live))
        value = self.handle.get_tensor(name)
        if not name.startswith(FLOAT32_MODULES):
            Watched.live.append(weakref.ref(value))
        Watched.addresses.append(value.data_ptr())
        return value


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(module, 'safe_open', Watched)
    Watched.live, Watched.addresses, Watched.most = [], [], 0
    return Watched


def test_weights_are_put_where_they_are_read(watched):
    """In the type they are stored in: no copy of any."""
    model = load(R1)
    assert len(watched.addresses) == len(model.state_dict())
    assert {value.data_ptr() for value in model.state_dict().values()} == set(watched.addresses)


def test_weights_are_converted_one_by_one(watched):
    """In another type: never two of the file's tensors at once, so never a second model."""
    model = load(R1, torch.bfloat16)
    assert watched.most == 1 and len(watched.live) > 100
    storage = {parameter.untyped_storage().data_ptr(): parameter.untyped_storage().nbytes()
               for parameter in model.parameters()}
    # No weight is a view of something larger, either.
    assert sum(storage.values()) == sum(
        parameter.numel() * parameter.element_size() for parameter in model.parameters())


def test_names_and_shapes_are_checked_before_a_weight_is_read(watched, r1):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.pop('expert.norm.weight'))
    refused(r1, 'missing weights: expert.norm.weight')
    assert watched.addresses == []


@pytest.mark.parametrize('name', ['bfloat16', 'float16'])
def test_half_precision_keeps_the_action_projection(name):
    model, exact = load(R1, parse_dtype(name)), load(R1)
    assert model.dtype == parse_dtype(name)
    for key, value in model.state_dict().items():
        single = key.startswith(('action_in_proj.', 'action_space.'))
        assert value.dtype == (torch.float32 if single else parse_dtype(name)), key
        assert torch.equal(value, exact.state_dict()[key].to(value.dtype))


def test_parts_that_are_not_wanted_have_no_storage():
    model = load_model(load_config(R1), CPU, torch.float32, parts=module.EXPERT)
    for key, value in model.state_dict().items():
        assert value.is_meta != key.startswith(('expert.', 'action_')), key


@pytest.mark.parametrize('name', ['action_out_proj.bias', 'vlm.lm_head.weight',
                                  'expert.layers.3.self_attn.q_norm.weight',
                                  'vlm.model.visual.pos_embed.weight',
                                  'action_in_proj.sinus.1.freqs'])
def test_a_missing_weight_is_named(r1, name):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.pop(name))
    refused(r1, f'missing weights: {re.escape(name)}$')


def test_many_missing_weights_are_counted(r1):
    def change(tensors):
        for name in [name for name in tensors if name.startswith('expert.layers.2')]:
            del tensors[name]
    edit_tensors(r1 / WEIGHTS, change)
    refused(r1, r'missing weights: expert.layers.2.input_layernorm.weight, .* and 6 more$')


@pytest.mark.parametrize('name', ['expert.embed_tokens.weight', 'ema.expert.norm.weight',
                                  'expert.layers.4.mlp.up_proj.weight'])
def test_an_unexpected_weight_is_named(r1, name):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.update({name: torch.zeros(3)}))
    refused(r1, f'unexpected weights: {re.escape(name)}; expected those of alpamayo_r1')


def test_frequencies_belong_to_r1_only(r1):
    edit_json(r1 / 'config.json', lambda config: config.update(model_type='alpamayo1_5'))
    refused(r1, r'unexpected weights: action_in_proj\.sinus\.0\.freqs')


@pytest.mark.parametrize('name, shape', [('action_out_proj.weight', (2, 49)),
                                         ('expert.norm.weight', (48, 1)),
                                         ('vlm.model.visual.patch_embed.proj.weight', (32, 1536))])
def test_a_misshapen_weight_is_named(r1, name, shape):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.update({name: torch.zeros(shape)}))
    refused(r1, re.escape(f'weight {name} has shape {shape}; expected '))


@pytest.mark.parametrize('name', [EMBEDDING, 'vlm.lm_head.weight'])
def test_another_vocabulary_size_is_explained(r1, name):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.update({name: tensors[name][:500]}))
    refused(r1, rf"{re.escape(name)} has shape \(500, 64\); expected \(538, 64\).*"
            "'vocab_size' 538")


@pytest.mark.parametrize('dtype', [torch.int32, torch.uint8, torch.bool])
def test_a_weight_that_is_no_number_with_a_point_is_named(r1, dtype):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.update(
        {'expert.norm.weight': torch.ones(48, dtype=dtype)}))
    refused(r1, f'weight expert.norm.weight is {re.escape(str(dtype))}; expected a floating')


def test_missing_files_are_named(r1, tmp_path):
    (r1 / WEIGHTS).rename(r1 / 'weights.safetensors')
    refused(r1, r"model\.safetensors does not exist; safetensors files found: "
            r"\['weights.safetensors'\]")
    (r1 / 'weights.safetensors').unlink()
    refused(r1, 'safetensors files found: none')
    refused(tmp_path / 'nothing', 'is no directory')


@pytest.mark.parametrize('damage', [lambda data: b'', lambda data: data[:7],
                                    lambda data: data[:5000], lambda data: data[:-1000],
                                    lambda data: b'\xff' * 64 + data[64:],
                                    lambda data: b'not a model at all'],
                         ids=['empty', 'no length', 'half a header', 'cut off', 'overwritten',
                              'text'])
def test_a_damaged_file_is_named(r1, damage):
    """Also by the whole runtime, which reads it for a fingerprint too."""
    data = (r1 / WEIGHTS).read_bytes()
    (r1 / WEIGHTS).unlink()
    (r1 / WEIGHTS).write_bytes(damage(data))
    refused(r1, r'model\.safetensors is no readable safetensors file')
    with pytest.raises(CheckpointError, match='no readable safetensors file'):
        Runtime(r1)


def sharded(path, tmp_path):
    """A golden checkpoint in two files."""
    weights = safetensors.torch.load_file(path / WEIGHTS)
    (path / WEIGHTS).unlink()
    write_weights({name: value.clone() for name, value in weights.items()}, path, shards=2)
    return path / 'model.safetensors.index.json'


def test_a_missing_shard_is_named(r1, tmp_path):
    sharded(r1, tmp_path)
    (r1 / 'model-00002-of-00002.safetensors').unlink()
    refused(r1, r'model-00002-of-00002\.safetensors does not exist; .*model-00001-of-00002')


def test_an_index_without_a_map(r1, tmp_path):
    index = sharded(r1, tmp_path)
    for value in ({}, {'weight_map': {}}, {'weight_map': ['a']}):
        index.write_text(json.dumps(value))
        refused(r1, "index.json has no 'weight_map'")


def test_a_weight_in_two_shards_is_named(r1, tmp_path):
    sharded(r1, tmp_path)
    edit_tensors(r1 / 'model-00002-of-00002.safetensors', lambda tensors: tensors.update(
        safetensors.torch.load_file(r1 / 'model-00001-of-00002.safetensors')))
    refused(r1, 'weight .* is in two files')


def test_tied_embeddings(r1):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.pop('vlm.lm_head.weight'))
    refused(r1, 'missing weights: vlm.lm_head.weight')
    edit_json(r1.parent / 'vlm' / 'config.json',
              lambda config: config.update(tie_word_embeddings=True))
    model = load(r1)
    assert model.vlm.lm_head.weight is model.vlm.decoder.embed_tokens.weight


def test_statistics_come_from_the_weights_and_else_from_the_configuration(r1):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors.update(
        {'action_space.accel_std': torch.tensor(0.5)}))
    assert Runtime(r1).unicycle.accel_std == 0.5

    def drop(tensors):
        for name in [name for name in tensors if name.startswith('action_space.')]:
            del tensors[name]
    edit_tensors(r1 / WEIGHTS, drop)
    found = Runtime(r1).unicycle
    assert (found.accel_mean, found.accel_std, found.curvature_mean, found.curvature_std) == (
        pytest.approx((0.03, 0.68, 0.0003, 0.026), rel=1e-6))


def test_stored_frequencies_are_used(r1):
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors['action_in_proj.sinus.0.freqs'].mul_(1.5))
    assert load(r1).action_in_proj.sinus[0].freqs[0, 0] == 1.5
    assert load(V1_5).action_in_proj.sinus[0].freqs[0].tolist() == pytest.approx(
        [100 ** (i / 9) for i in range(10)])


def test_fingerprints(r1):
    def found():
        return fingerprints(load_config(r1))
    first = found()
    assert first == fingerprints(load_config(R1)) == found()
    assert all(len(digest) == 16 and int(digest, 16) for digest in first)
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors['vlm.lm_head.weight'][0, 0].add_(1e-3))
    second = found()
    assert second[0] != first[0] and second[1] == first[1]
    edit_tensors(r1 / WEIGHTS, lambda tensors: tensors['expert.norm.weight'][0].add_(1e-3))
    third = found()
    assert third[0] != second[0] and third[1] != second[1]
    edit_json(r1 / 'config.json', lambda config: config['action_space_cfg'].update(dt=0.2))
    fourth = found()
    assert fourth[0] != third[0] and fourth[1] != third[1]


def test_fingerprint_of_a_large_weight_covers_its_ends(r1):
    digests = set()
    for place in (None, 0, -1):
        big = torch.zeros(600_000)
        if place is not None:
            big[place] = 1
        edit_tensors(r1 / WEIGHTS, lambda tensors, big=big: tensors.update({'vlm.big': big}))
        digests.add(fingerprints(load_config(r1))[0])
    assert len(digests) == 3


@pytest.mark.parametrize('name', ['float64', 'half', ''])
def test_unknown_dtype(name):
    with pytest.raises(ValueError, match=f"dtype is '{name}'; expected one of float32, bfloat16"):
        parse_dtype(name)


@pytest.mark.parametrize('name', ['gpu', 'cuda:x', '', 'meta', 'mps'])
def test_unknown_device(name):
    with pytest.raises(ValueError, match=f"device is '{name}'; expected 'cpu', 'cuda' or"):
        parse_device(name)


def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match="device is 'cuda', but torch .* finds no CUDA device"):
        parse_device('cuda')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert parse_device('cuda:1') == torch.device('cuda', 1)
    with pytest.raises(ValueError, match="device is 'cuda:2'; expected an index below 2"):
        parse_device('cuda:2')
