"""The training tool: what it draws, what it asks for, and that it goes on after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest
import torch

from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.tokenizer import load_tokenizer, special
from alpamayo_ros.training import examples, stages
from alpamayo_ros.training.batches import Batcher
from alpamayo_ros.training.examples import Example, class_shares, labelled_images
from alpamayo_ros.training.loop import Progress, rate_at
from alpamayo_ros.training.nano import IMAGE_SIZE, RENDER_SIZE, write_configuration
from alpamayo_ros.training.settings import StageSettings, TrainingSettings
from alpamayo_ros.training.store import Seeds, Store, seeds_of
from alpamayo_ros.training.train import train
from alpamayo_ros.training.workers import Stream
from alpamayo_ros.world.causes import CAUSES, KINDS
from alpamayo_ros.world.reasoning import all_texts, navigation_texts
from alpamayo_ros.world.render import LABELS
from alpamayo_ros.world.samples import draw_sample


@pytest.fixture(scope='module')
def batcher(tmp_path_factory):
    directory = tmp_path_factory.mktemp('nano')
    write_configuration(directory, [*all_texts(), *navigation_texts()])
    config = load_config(directory)
    return Batcher(config, load_tokenizer(config))


def _example(reasoning: str, navigation: str | None) -> Example:
    rng = np.random.default_rng(len(reasoning))
    return Example(
        camera_ids=(1,), images=rng.integers(
            0, 256, (4, IMAGE_SIZE[1], IMAGE_SIZE[0], 3), np.uint8),
        history_xyz=np.zeros((16, 3), np.float32), controls=rng.normal(size=(64, 2)).astype(
            np.float32), reasoning=reasoning, navigation=navigation, kind='red_light',
        cause='red_light', facts=np.array([1.0, *[np.nan] * 4], np.float32))


def numbered(seeds: Seeds, most: int = 3):
    """A source of items that say where they are from: none to ``most`` of each seed."""
    return (((seed, place), (seed, place)) for seed in seeds for place in range(seed % (most + 1)))


def test_store_draws_each_item_as_often_as_asked():
    source = (((number, 0), number) for number in count())
    store = Store(source, np.random.default_rng(0), batch=8, reuse=4, size=100)
    drawn = np.concatenate([store.draw() for _ in range(500)])
    counts = np.bincount(drawn)[Store.FIRST:900]
    assert 3.6 < counts.mean() < 4.4
    assert drawn.max() < Store.FIRST + 500 * 2 + 2


@pytest.mark.parametrize('steps', [1, 2, 3, 17, 40])
def test_store_goes_on_as_if_nothing_had_been(steps):
    def store(left=None):
        seeds = seeds_of(left, 50)
        made = []

        def prepare(origin, item):
            made.append(item)
            return 'made of', item

        return Store(numbered(seeds), np.random.default_rng(5), batch=4, reuse=3, size=70,
                     prepare=prepare, left=left), made

    (whole, _), (first, _) = store(), store()
    expected = [whole.draw() for _ in range(60)]
    assert [first.draw() for _ in range(steps)] == expected[:steps]
    again, made = store(first.left())
    assert len(made) <= 70  # what is no longer held is not prepared again
    assert [again.draw() for _ in range(60 - steps)] == expected[steps:]


def test_store_does_not_go_on_with_other_drives():
    def store(most, left=None):
        return Store(numbered(seeds_of(left, 51), most), np.random.default_rng(5), batch=4, reuse=3,
                     size=70, left=left)

    first = store(3)
    first.draw()
    for most in (2, 6):
        with pytest.raises(ValueError, match='drives are not those that the interrupted run had'):
            store(most, first.left())


@pytest.mark.parametrize('workers', [1, 2])
def test_stream_has_the_order_of_the_seeds(workers):
    with Stream(range, Seeds(5, (1, 3)), workers) as stream:
        found = list(islice(stream, 16))
    assert found == [((seed, place), place) for seed in (1, 3, 5, 6, 7) for place in range(seed)
                     ][:16]


def test_rate_rises_stays_and_falls():
    settings = StageSettings(steps=100, batch=1, rate=1.0, reuse=1, store=1, warmup=10, decay=0.5)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:51] == [1.0] * 42
    assert all(a > b for a, b in zip(rates[51:], rates[52:], strict=False))
    assert rates[-1] < 0.01


def test_batch_asks_for_the_reasoning_and_nothing_else(batcher):
    texts = all_texts()[:2]
    batch = batcher([_example(texts[0], None), _example(texts[1], navigation_texts()[0])])
    for row, text in enumerate(texts):
        asked = batch.targets[row] >= 0
        wanted = text + special('cot_end') + special('traj_future_start')
        assert batcher._tokenizer.decode(batch.targets[row][asked].tolist()) == wanted
        first = int(asked.nonzero()[0])
        assert batcher._tokenizer.decode([int(batch.ids[row, first])]) == special('cot_start')
        assert int(batch.lengths[row]) == first + 1 + int(asked.sum())
        assert torch.equal(batch.ids[row, 1:][asked[:-1]], batch.targets[row][asked])
        assert int(batch.offsets[row]) == int(batch.positions[0, row, batch.lengths[row] - 1]) + 1


def test_every_word_of_the_world_is_one_token(batcher):
    for text in [*all_texts(), *navigation_texts()]:
        assert batcher._tokenizer.decode(batcher._tokenizer.encode(text)) == text
    longest = max(all_texts(), key=lambda text: len(batcher._tokenizer.encode(text)))
    assert len(batcher._tokenizer.encode(longest)) <= len(longest.split()) + longest.count(
        ',') + longest.count('.') + longest.count('-') * 2


def test_class_shares_count_pixels():
    labels = np.zeros((RENDER_SIZE[1], RENDER_SIZE[0]), np.uint8)
    side = examples.CELL * RENDER_SIZE[0] // IMAGE_SIZE[0]
    labels[:side // 2, side:2 * side] = 3
    shares = class_shares(labels)
    assert shares.shape == (IMAGE_SIZE[1] // examples.CELL, IMAGE_SIZE[0] // examples.CELL,
                            len(LABELS))
    assert shares[0, 1, 3] == 0.5 and shares[0, 1, 0] == 0.5 and shares[0, 0, 0] == 1
    assert np.allclose(shares.sum(-1), 1)


def test_examples_are_the_same_for_a_seed_and_of_every_kind():
    first, second = (list(examples.examples(15, (1,), 2, 2)) for _ in range(2))
    assert first and all(np.array_equal(a.images, b.images) and a.reasoning == b.reasoning
                         for a, b in zip(first, second, strict=True))
    kinds = {item.kind for seed in range(len(KINDS))
             for item in examples.examples(seed, (1,), 1, 1)}
    assert kinds == set(KINDS)


def test_some_kinds_are_drawn_twice_as_often():
    twice = ('curve', 'pedestrian')
    kinds = [examples.draw_drive(seed, twice)[0].kind for seed in range(2 * (len(KINDS) + 2))]
    assert {kind: kinds.count(kind) for kind in KINDS} == {
        kind: 4 if kind in twice else 2 for kind in KINDS}
    example = next(examples.examples(len(KINDS), (1,), 1, 1, twice=twice))
    assert example.kind == 'curve'
    for wrong in (('kerb',), ('curve', 'curve')):
        with pytest.raises(ValueError, match='kinds to draw twice are'):
            TrainingSettings(twice=wrong)


def test_vision_loss_falls_when_it_is_followed(tmp_path):
    """Twenty steps on a few images must teach something, or gradients do not arrive."""
    from alpamayo_ros.training.train import _model
    torch.manual_seed(0)
    write_configuration(tmp_path, all_texts())
    model = _model(tmp_path)
    loss = stages.VisionLoss(model)
    images = list(labelled_images(3, (1, 6), 6))
    optimiser = torch.optim.AdamW([*model.vlm.visual.parameters(), *loss.parameters()], 1e-3)
    values = []
    for _ in range(20):
        value = loss(model, images)['vision']
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.7 * values[0]


def test_what_the_reasoning_stage_minimises(tmp_path):
    """Each loss is there, follows what it asks for, and reaches what it should teach."""
    from alpamayo_ros.training.train import _model
    torch.manual_seed(0)
    write_configuration(tmp_path, [*all_texts(), *navigation_texts()])
    model = _model(tmp_path)
    batcher = Batcher(model.config, load_tokenizer(model.config))
    drawn = [next(examples.examples(seed, (1,), 1, 1, labels=True))
             for seed in (KINDS.index('red_light'), KINDS.index('standing_lead'))]
    assert [item.cause for item in drawn] == ['red_light', 'standing_lead']
    assert np.isfinite(drawn[0].facts).tolist() == [True, False, True, True, True]
    assert np.isfinite(drawn[1].facts).tolist() == [False, True, True, True, True]
    batch = batcher(drawn)
    assert [CAUSES[index] for index in batch.causes] == ['red_light', 'standing_lead']
    loss = stages.ReasoningLoss(model)
    values = loss(model, batch)
    assert set(values) == {'reasoning', 'cause', 'facts', 'controls', 'right_tokens',
                           'right_causes', 'vision'}
    for name, touched in (('reasoning', model.vlm.visual), ('cause', model.vlm.visual),
                          ('facts', model.vlm.visual), ('controls', model.vlm.decoder),
                          ('vision', model.vlm.visual)):
        gradients = torch.autograd.grad(values[name], list(touched.parameters()),
                                        retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0, name
    # A fact that the cause does not have asks nothing.
    other = replace(drawn[0], facts=np.full(5, np.nan, np.float32))
    assert float(loss(model, batcher([other]))['facts'].detach()) == 0
    without = loss(model, batcher([replace(item, shares=None) for item in drawn]))
    assert 'vision' not in without
    assert torch.allclose(without['cause'], values['cause'], rtol=1e-5)


TINY = TrainingSettings(
    vision=StageSettings(40, 4, 1e-3, 2.0, 8),
    glance=StageSettings(30, 2, 1e-3, 4.0, 4, (1,), frames=1),
    reasoning=StageSettings(2, 2, 1e-3, 4.0, 4, (1, 6)),
    expert=StageSettings(3, 2, 1e-3, 4.0, 4, (1,)), draws=2, compiled=False)


def test_steps_of_stages_can_be_set():
    settings = TrainingSettings().with_steps({'glance': 7, 'expert': 9})
    assert [stage.steps for stage in settings.stages().values()] == [
        TrainingSettings().vision.steps, 7, TrainingSettings().reasoning.steps, 9]
    for steps, match in (({'glances': 7}, "'glances' is no stage; expected one of vision, glance"),
                         ({'expert': 0}, 'steps of expert are 0; expected 1 or more')):
        with pytest.raises(ValueError, match=match):
            TrainingSettings().with_steps(steps)


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(ValueError, match='no C.. compiler; expected g.., c.. or clang'):
        train(tmp_path, TrainingSettings())


def test_either_of_two_sensible_futures_is_asked_for():
    """As often the one as the other, and with the controls that lead to it."""
    taken = []
    for seed in range(KINDS.index('blocked_lane'), 40 * len(KINDS), len(KINDS)):
        sample = draw_sample('blocked_lane', seed)
        assert len(sample.other_controls) == len(sample.others) == 1
        speed = sample.drive.ego[sample.step, 3]
        driven = unicycle_positions(sample.other_controls[0], speed)
        assert np.abs(driven - sample.others[0][:, :2]).max() < 1e-6
        realised = sample.drive.ego[sample.step:sample.step + 64, 4:6]
        chosen = examples._controls(sample)
        taken.append(np.array_equal(chosen, realised.astype(np.float32)))
        assert taken[-1] or np.array_equal(chosen, sample.other_controls[0].astype(np.float32))
    assert 0.25 < np.mean(taken) < 0.75


def unicycle_positions(controls, speed):
    """Positions (T, 2) that controls (T, 2) lead to from the origin."""
    x = y = yaw = 0.0
    places = []
    for accel, bend in controls:
        after = max(speed + 0.1 * accel, 0.0)
        turned = yaw + bend * (0.1 * speed + 0.005 * accel)
        x += 0.05 * (speed * np.cos(yaw) + after * np.cos(turned))
        y += 0.05 * (speed * np.sin(yaw) + after * np.sin(turned))
        yaw, speed = turned, after
        places.append((x, y))
    return np.array(places)


def test_killed_run_goes_on_and_its_checkpoint_plans(tmp_path, monkeypatch):
    from alpamayo_ros.planner import Planner
    from alpamayo_ros.settings import PlannerSettings
    code = ('from test_training import TINY; from alpamayo_ros.training import loop, train; '
            'import pathlib, sys; loop._SAVE_EVERY_S = 0.0; loop._LOG_EVERY = 1; '
            'train.train(pathlib.Path(sys.argv[1]), TINY)')
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(
        [os.path.dirname(__file__), *sys.path])}
    process = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], env=environment)
    state = tmp_path / 'training' / 'state.pt'
    try:
        deadline = time.monotonic() + 150
        while not (state.exists() and Progress(state.parent).step('glance') > 2):
            if time.monotonic() > deadline or process.poll() is not None:
                pytest.fail(f'no step of the second stage; exit code {process.poll()}')
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    progress = Progress(state.parent)
    left = progress.step('glance')
    assert progress.is_done('vision') and 2 < left < TINY.glance.steps
    monkeypatch.setattr('alpamayo_ros.training.loop._LOG_EVERY', 1)
    train(tmp_path, TINY)
    log = [json.loads(line) for line in
           (state.parent / 'log.jsonl').read_text(encoding='utf-8').splitlines()]
    logged = [row['step'] for row in log if row['stage'] == 'glance']
    assert logged == sorted(set(logged)) and max(logged) == TINY.glance.steps > left
    assert {row['stage'] for row in log} == {'vision', 'glance', 'reasoning', 'expert'}
    assert (state.parent / 'curves.png').stat().st_size > 5000
    planner = Planner.load(tmp_path, PlannerSettings(num_candidates=4, max_generation_length=4))
    assert planner.warm_up((1, 6))
    with pytest.raises(ValueError, match='settings'):
        train(tmp_path, replace(TINY, seed=2))
