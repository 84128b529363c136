"""The vision tower against transformers', also for images of several sizes at once."""

from __future__ import annotations

import pytest
import torch
from golden_data import R1
from reference_model import ReferenceModel

from alpamayo_ros.model.checkpoint import load_model
from alpamayo_ros.model.config import load_config

CPU = torch.device('cpu')
SETS = {  # images of rows x columns, in merged tokens
    'one': [(2, 3)],
    'alike': [(3, 4)] * 3,
    'one row': [(1, 5), (1, 5)],
    'mixed': [(2, 3), (4, 2), (2, 3), (1, 1), (4, 2), (7, 5)],
}


@pytest.fixture(scope='module', params=['r1', 'deep', 'wide'])
def towers(request):
    path = R1 if request.param == 'r1' else request.getfixturevalue(request.param)
    config = load_config(path)
    ours = load_model(config, CPU, torch.float32, parts=('vlm.model.visual.',)).vlm.visual
    return ours, ReferenceModel.from_checkpoint(path).vlm.model.visual, config.vision


def patches(geometry, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    merge = geometry.spatial_merge_size
    grids = [(1, rows * merge, columns * merge) for rows, columns in sizes]
    return grids, [torch.rand(rows * columns, geometry.patch_values, generator=generator) * 2 - 1
                   for _, rows, columns in grids]


@pytest.mark.parametrize('name', SETS)
@torch.no_grad()
def test_tokens_and_deep_features(towers, name):
    ours, reference, geometry = towers
    grids, values = patches(geometry, SETS[name])
    tokens, deep = ours(values, grids)
    expected = reference(torch.cat(values), grid_thw=torch.tensor(grids))
    pairs = [(tokens, expected.pooler_output), *zip(deep, expected.deepstack_features,
                                                    strict=True)]
    assert len(deep) == len(geometry.deepstack_indexes)
    for found, wanted in pairs:
        assert found.shape == (sum(rows * columns for rows, columns in SETS[name]),
                               geometry.out_hidden_size)
        assert (found - wanted).abs().max() < 2e-5 * max(1, float(wanted.abs().max()))
    # They are not all alike, or this would say little.
    assert (deep[0] - tokens).abs().max() > 1e-3


@torch.no_grad()
def test_images_do_not_see_each_other(towers):
    ours, _, geometry = towers
    grids, values = patches(geometry, [(2, 3), (2, 3), (3, 2)])
    together, _ = ours(values, grids)
    apart = torch.cat([ours([value], [grid])[0] for value, grid in zip(values, grids, strict=True)])
    assert (together - apart).abs().max() < 1e-5


@torch.no_grad()
def test_where_a_patch_is_matters(towers):
    ours, _, geometry = towers
    grids, values = patches(geometry, [(3, 3)])
    expected = ours(values, grids)[0]
    turned = ours([values[0].flip(0)], grids)[0]
    assert (turned.flip(0) - expected).abs().max() > 1e-3
    assert ours(values, [(1, grids[0][1] // 3, grids[0][2] * 3)])[0].shape == expected.shape
