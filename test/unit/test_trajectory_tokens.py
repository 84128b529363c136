"""Trajectories as integers and back."""

from __future__ import annotations

import math

import pytest
import torch
from synthetic import drive

from alpamayo_ros.model.trajectory_tokens import DeltaTokenizer, DiscreteTokenizer
from alpamayo_ros.model.unicycle import yaw_rotation


def test_delta_tokens_by_hand():
    """Bins of 1 m around -5 ... 5: the first difference is the first position itself."""
    tokenizer = DeltaTokenizer(bins=11, low=(-5, -5, -5), high=(5, 5, 5))
    xyz = torch.tensor([[1.0, 0.0, -2.0], [3.0, 0.4, -2.0], [3.6, 0.4, 8.0], [-40.0, 0.4, 8.0]])
    assert tokenizer.encode(xyz).tolist() == [6, 5, 3, 7, 5, 5, 6, 5, 10, 0, 5, 5]


def test_halves_are_rounded_to_even_as_in_training():
    tokenizer = DiscreteTokenizer(bins=5, low=(0, 0), high=(4, 4))
    action = torch.tensor([[0.5, 1.5], [2.5, 3.5]])
    assert tokenizer.encode(action).tolist() == [0, 2, 2, 4]


def test_released_history_tokens():
    xyz, _ = drive(10.0, 0.0)
    tokens = DeltaTokenizer().encode(torch.from_numpy(xyz).float())
    assert tokens.shape == (48,) and tokens.dtype == torch.long
    # -15 m is below the range, then steps of 1 m: (1 + 4) / 8 * 999.
    assert tokens[0] == 0 and set(tokens[3::3].tolist()) == {624}
    # A slope of 5 %: (0.05 + 10) / 20 * 999.
    assert set(tokens[5::3].tolist()) == {502}


@pytest.mark.parametrize('bins', [32, 1000])
def test_delta_decoding_is_within_half_a_bin_a_step(bins):
    tokenizer = DeltaTokenizer(bins=bins)
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(5, 16, 3, generator=generator) * torch.tensor([7, 7, 18.0]) - torch.tensor(
        [3.5, 3.5, 9])
    xyz = steps.cumsum(-2)
    decoded = tokenizer.decode(tokenizer.encode(xyz))
    assert decoded.shape == xyz.shape
    found = torch.diff(decoded, dim=-2, prepend=torch.zeros(5, 1, 3))
    half = torch.tensor([8.0, 8.0, 20.0]) / (bins - 1) / 2
    assert ((found - steps).abs() <= half * 1.001 + 1e-5).all()


def test_delta_with_yaw():
    """A fourth value: the difference of the negated yaw, over the jump at pi."""
    tokenizer = DeltaTokenizer(bins=101, yaw=True)
    theta = torch.tensor([3.0, 3.0 + 0.5, 3.0 + 0.5 - 1.0])
    xyz = torch.zeros(3, 3)
    tokens = tokenizer.encode(xyz, yaw_rotation(theta)).view(3, 4)
    steps = [-3.0, -0.5, 1.0]
    assert tokens[:, 3].tolist() == [round((step + math.pi) / (2 * math.pi) * 100)
                                     for step in steps]
    assert torch.allclose(tokenizer.decode(tokens.flatten()), xyz, atol=0.2)
    with pytest.raises(ValueError, match='rot is None; expected rotations'):
        tokenizer.encode(xyz)


@pytest.mark.parametrize('bins', [64, 3000])
def test_discrete_tokens(bins):
    tokenizer = DiscreteTokenizer(bins=bins, low=(-10, -4), high=(10, 6))
    generator = torch.Generator().manual_seed(0)
    action = torch.rand(3, 64, 2, generator=generator) * torch.tensor([20, 10.0]) + torch.tensor(
        [-10, -4.0])
    tokens = tokenizer.encode(action)
    assert tokens.shape == (3, 128) and tokens.min() >= 0 and tokens.max() < bins
    half = torch.tensor([20, 10.0]) / (bins - 1) / 2
    assert ((tokenizer.decode(tokens) - action).abs() <= half * 1.001 + 1e-5).all()
    assert (tokenizer.encode(torch.tensor([[-99.0, 99.0]])) == torch.tensor([0, bins - 1])).all()


def test_reading_their_configuration():
    assert DeltaTokenizer.from_config({'_target_': 'x'}) == DeltaTokenizer()
    assert DeltaTokenizer.from_config({'num_bins': 9, 'ego_xyz_min': [-1, -2, -3], 'ego_xyz_max':
                                       [1, 2, 3.5], 'predict_yaw': True}) == DeltaTokenizer(
        9, (-1.0, -2.0, -3.0), (1.0, 2.0, 3.5), True)
    assert DiscreteTokenizer.from_config({'num_bins': 7, 'dims_min': [-1, -2], 'dims_max': [3, 4]}
                                         ) == DiscreteTokenizer(7, (-1.0, -2.0), (3.0, 4.0))
    assert DiscreteTokenizer.from_config({}) == DiscreteTokenizer(3000, (-10, -10), (10, 10))
