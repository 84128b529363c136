"""Choosing tokens: which may be drawn and how often, against transformers and arithmetic."""

from __future__ import annotations

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from alpamayo_ros.model.sampling import Sampling, hide_trajectory_tokens, sample

DRAWS = 60_000
LOGITS = torch.tensor([2.0, 1.5, 1.4, 0.3, 0.2, -0.5, -1.0, -3.0, 1.45, -torch.inf])


def expected(sampling):
    """Probabilities as transformers' warpers leave them, in its order."""
    logits = TemperatureLogitsWarper(sampling.temperature)(None, LOGITS[None])
    if sampling.top_k is not None:
        logits = TopKLogitsWarper(sampling.top_k)(None, logits)
    if sampling.top_p < 1:
        logits = TopPLogitsWarper(sampling.top_p)(None, logits)
    return logits.softmax(-1)[0].double()


@pytest.mark.parametrize('sampling', [
    Sampling(), Sampling(temperature=1.0, top_p=1.0), Sampling(temperature=2.5, top_p=1.0),
    Sampling(temperature=1.0, top_p=0.5), Sampling(temperature=1.0, top_p=1e-6),
    Sampling(temperature=1.0, top_k=3, top_p=1.0), Sampling(temperature=0.7, top_k=5, top_p=0.8),
    Sampling(temperature=1.0, top_k=99, top_p=1.0), Sampling(temperature=1.0, top_p=0.98)],
    ids=str)
def test_tokens_are_drawn_as_often_as_their_probability(sampling):
    drawn = sample(LOGITS.expand(DRAWS, -1), sampling, torch.Generator().manual_seed(0))
    assert drawn.shape == (DRAWS,) and drawn.dtype == torch.long
    counts = torch.bincount(drawn, minlength=len(LOGITS)).double()
    probability = expected(sampling)
    # What is cut off never comes; the others within five standard deviations.
    assert (counts[probability == 0] == 0).all()
    deviation = (DRAWS * probability * (1 - probability)).sqrt()
    assert ((counts - DRAWS * probability).abs() <= 5 * deviation + 1e-9).all()
    assert (counts[probability > 1e-3] > 0).all()


def test_rows_have_their_own_distributions_and_draws():
    logits = torch.full((3, 4), -30.0)
    logits[0, 1] = logits[1, 3] = logits[2, 0] = 0.0
    assert sample(logits, Sampling(1.0, None, 1.0), torch.Generator()).tolist() == [1, 3, 0]
    same = sample(torch.zeros(200, 8), Sampling(1.0, None, 1.0), torch.Generator().manual_seed(1))
    assert len(set(same.tolist())) == 8


def test_a_seed_means_its_draws():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample(torch.zeros(50, 100), Sampling(), generator).tolist()
    assert draw(3) == draw(3) != draw(4)


def test_greedy_takes_the_largest_and_no_randomness():
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    assert torch.equal(sample(logits, Sampling(top_k=1), generator), logits.argmax(-1))
    assert torch.equal(generator.get_state(), before)


def test_top_p_keeps_the_first_token_even_when_it_alone_exceeds_it():
    logits = torch.tensor([[5.0, 0.0, 0.0]]).expand(500, -1)
    assert (sample(logits, Sampling(1.0, None, 0.1), torch.Generator()) == 0).all()


def test_hidden_tokens_are_never_drawn():
    logits = torch.zeros(20_000, 30)
    logits[:, 10:20] = 50.0
    hidden = hide_trajectory_tokens(logits, 10, 10)
    assert torch.isinf(hidden[:, 10:20]).all() and (hidden[:, [9, 20]] == 0).all()
    for sampling in (Sampling(), Sampling(9.0, None, 1.0), Sampling(1.0, 25, 1.0)):
        drawn = sample(hidden, sampling, torch.Generator().manual_seed(0))
        assert not ((drawn >= 10) & (drawn < 20)).any()
    assert (sample(hidden, Sampling(top_k=1), torch.Generator()) == 0).all()


def test_logits_are_not_changed_by_drawing():
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    kept = logits.clone()
    sample(logits, Sampling(0.5, 3, 0.5), torch.Generator())
    assert torch.equal(logits, kept)
