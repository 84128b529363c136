"""Ranking: medoid first, distance decides, nothing implausible or broken gets in front."""

from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.ranking import rank


def straight(*lateral: float, waypoints: int = 8) -> np.ndarray:
    """Parallel paths to the front with these lateral offsets, (N, waypoints, 3)."""
    paths = np.zeros((len(lateral), waypoints, 3))
    paths[..., 0] = np.arange(1, waypoints + 1)
    paths[..., 1] = np.array(lateral)[:, None]
    return paths


def test_medoid_first_then_by_distance_to_it() -> None:
    order, scores = rank(straight(5.0, 0.0, 1.2, 0.5, -3.0), [True] * 5)
    assert order.tolist() == [3, 1, 2, 4, 0]
    np.testing.assert_allclose(scores, [4.5, 0.5, 0.7, 0.0, 3.5])


def test_distance_is_the_mean_over_time() -> None:
    paths = straight(0.0, 0.0, 0.0, waypoints=4)
    paths[1, 3, 1] = 4.0
    paths[2, :, 2] = 0.5
    order, scores = rank(paths, [True] * 3)
    np.testing.assert_allclose(scores, [0.0, 1.0, 0.5])
    assert order.tolist() == [0, 2, 1]


def test_implausible_candidates_have_no_vote_and_come_last() -> None:
    paths = straight(0.0, 0.3, 0.1, 9.0, 9.1, 9.2, 9.3)
    order, scores = rank(paths, [True, True, True, False, False, False, False])
    assert order.tolist() == [2, 0, 1, 3, 4, 5, 6]
    np.testing.assert_allclose(scores[3:], [8.9, 9.0, 9.1, 9.2])


def test_an_implausible_candidate_at_the_medoid_still_comes_last() -> None:
    order, _ = rank(straight(1.0, 0.0, 0.0, 2.0), [True, False, True, True])
    assert order[-1] == 1


def test_not_finite_candidates_are_last_and_poison_nothing() -> None:
    paths = straight(0.0, 0.2, 0.1, 0.3, 7.0)
    clean_order, clean_scores = rank(paths[[0, 2, 3, 4]], [True, True, True, False])
    paths[1, 3, 0] = np.nan
    with np.errstate(all='raise'):
        order, scores = rank(paths, [True, True, True, True, False])
    original = np.array([0, 2, 3, 4])
    assert order.tolist() == [*original[clean_order], 1]
    np.testing.assert_array_equal(scores[original], clean_scores)
    assert scores[1] == np.inf


def test_with_nothing_plausible_the_finite_ones_are_ordered() -> None:
    paths = straight(3.0, 0.0, 1.0, 0.0)
    paths[3, 0, 0] = np.inf
    order, scores = rank(paths, [False] * 4)
    assert order.tolist() == [2, 1, 0, 3]
    assert scores.tolist() == [2.0, 1.0, 0.0, np.inf]


def test_with_nothing_finite_the_order_is_kept() -> None:
    order, scores = rank(np.full((3, 4, 3), np.nan), [True] * 3)
    assert order.tolist() == [0, 1, 2] and np.isinf(scores).all()


def test_numbers_too_large_to_square_are_far_away() -> None:
    paths = straight(0.0, 0.1, 0.2)
    paths[1] = 1e300
    order, scores = rank(paths, [True, False, True])
    assert order.tolist() == [0, 2, 1] and scores[1] == np.inf


def test_equals_keep_the_order_of_sampling() -> None:
    order, scores = rank(straight(0.7, 0.7, 0.7, 0.7), [True] * 4)
    assert order.tolist() == [0, 1, 2, 3] and not scores.any()
    # Mirror images whose distances differ by rounding only.
    order, _ = rank(straight(0.1 + 0.2, -0.3, 0.0, 0.3, -0.1 - 0.2), [True] * 5)
    assert order.tolist() == [2, 0, 1, 3, 4]


@pytest.mark.parametrize('seed', range(20))
def test_properties_of_random_sets(seed) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    paths = rng.normal(0, 5, (count, 12, 3)).cumsum(axis=1)
    plausible = rng.random(count) < 0.7
    order, scores = rank(paths, plausible)

    assert sorted(order.tolist()) == list(range(count))
    voters = np.flatnonzero(plausible) if plausible.any() else np.arange(count)
    distances = np.linalg.norm(paths[:, None] - paths[None], axis=-1).mean(axis=-1)
    medoid = voters[distances[np.ix_(voters, voters)].sum(axis=1).argmin()]
    assert order[0] == medoid and scores[medoid] == 0
    np.testing.assert_allclose(scores, distances[medoid])
    split = int(plausible.sum())
    assert plausible[order[:split]].all() and not plausible[order[split:]].any()
    for group in (order[:split], order[split:]):
        assert (np.diff(scores[group]) >= 0).all()

    shuffle = rng.permutation(count)
    shuffled_order, shuffled_scores = rank(paths[shuffle], plausible[shuffle])
    np.testing.assert_allclose(shuffled_scores, scores[shuffle])
    assert shuffle[shuffled_order].tolist() == order.tolist()


def test_a_single_candidate_is_its_own_medoid() -> None:
    order, scores = rank(straight(4.0), [True])
    assert order.tolist() == [0] and scores.tolist() == [0.0]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r'xyz has shape \(8, 3\)'):
        rank(np.zeros((8, 3)), [True] * 8)
    with pytest.raises(ValueError, match=r'plausible has shape \(3,\); expected \(2,\)'):
        rank(straight(0.0, 1.0), [True] * 3)
