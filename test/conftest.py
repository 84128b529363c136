"""Checkpoints that several tests share, made once a session."""

from __future__ import annotations

import os

import pytest

# Before torch is loaded. Its threads wait for each other by spinning, which on a machine that has
# other work takes ten times as long as the work itself.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


@pytest.fixture(scope='session')
def deep(tmp_path_factory):
    """``alpamayo_r1`` of other sizes, in three shards, with computed cases."""
    import synthetic
    model = synthetic.make_model(synthetic.DEEP)
    path = synthetic.write_checkpoint(model, tmp_path_factory.mktemp('deep'), shards=3)
    synthetic.write_case(model, path, 'multi', synthetic.Wish(
        cameras=(0, 1, 2, 6), frames_per_camera=3, size=(60, 100), total=12,
        ends=(2, 10, 6, 3, 1, 12)))
    synthetic.write_case(model, path, 'greedy_truncated', synthetic.Wish(
        cameras=(1,), frames_per_camera=2, size=(90, 64), total=8, seed=1))
    return path


@pytest.fixture(scope='session')
def wide(tmp_path_factory):
    """``alpamayo1_5`` of other sizes, with computed cases, navigation and guidance among them."""
    import synthetic
    model = synthetic.make_model(synthetic.WIDE)
    six = synthetic.Wish(cameras=(0, 1, 2, 3, 5, 6), frames_per_camera=2, size=(60, 90), total=12,
                         seed=3)
    synthetic.teach_end(model, six, after=5)
    path = synthetic.write_checkpoint(model, tmp_path_factory.mktemp('wide'))
    synthetic.write_case(model, path, 'greedy_ended', six)
    synthetic.write_case(model, path, 'guided_multi', synthetic.Wish(
        cameras=(0, 3, 5), frames_per_camera=2, size=(70, 90), total=9, ends=(4, 0, 8, 2, 9, 6),
        navigation='Turn left in 30m', guidance=1.7, seed=2))
    synthetic.write_case(model, path, 'navigation', synthetic.Wish(
        cameras=(2,), frames_per_camera=1, size=(70, 90), total=9, ends=(5,),
        navigation='Turn right', speed=0.0, seed=4))
    return path


@pytest.fixture(scope='session')
def causal(tmp_path_factory):
    """The deep checkpoint with an expert whose tokens see only those before them."""
    import dataclasses

    import synthetic
    model = synthetic.make_model(dataclasses.replace(synthetic.DEEP, causal=True))
    path = synthetic.write_checkpoint(model, tmp_path_factory.mktemp('causal'))
    synthetic.write_case(model, path, 'pair', synthetic.Wish(
        cameras=(1, 6), frames_per_camera=1, size=(60, 100), total=5, ends=(4, 2), seed=5))
    return path


@pytest.fixture(scope='session')
def nano(tmp_path_factory):
    """The checkpoint of the package with cases computed from scenes of the driving world."""
    import nano_cases
    path = tmp_path_factory.mktemp('nano') / 'nano'
    nano_cases.copy_with_cases(path)
    return path
