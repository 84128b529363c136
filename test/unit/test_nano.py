"""nano behaves: a few scenes it was not trained on, with margins that sampling does not reach.

How well it drives is `alpamayo evaluate`'s to say (docs/nano.md); here a checkpoint that has lost
its eyes, its ears or its wits is noticed.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.cli import train
from alpamayo_ros.evaluation.geometry import FRONT_M, heading_change
from alpamayo_ros.evaluation.report import estimate
from alpamayo_ros.evaluation.run import Options, evaluate
from alpamayo_ros.evaluation.scenes import draw, observation
from alpamayo_ros.evaluation.seeds import scene_ids
from alpamayo_ros.evaluation.variants import CheckpointDriver
from alpamayo_ros.resources import share_path
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.training.settings import TrainingSettings

NANO = share_path('resource', 'nano')
ROOT = Path(__file__).resolve().parents[2]
KINDS = ('red_light', 'green_light', 'turn_left', 'turn_right', 'cones', 'braking_lead')


@pytest.fixture(scope='module')
def scenes():
    return evaluate(Options(NANO, per_kind=4, validation=True, seed=1, kinds=KINDS, threads=2,
                            guidance=1.0)).scenes


def of(scenes, *kinds):
    return [scene for scene in scenes if scene.scene_id.kind in kinds]


def test_it_names_causes(scenes):
    # By chance one in twelve.
    assert estimate('cause', scenes).value >= 0.75
    assert estimate('readable', scenes).value >= 0.9


def test_it_plans_where_the_drive_goes(scenes):
    assert estimate('planned', scenes).value >= 0.9
    assert estimate('ade_6.4', scenes).value < 0.4 * estimate('velocity_6.4', scenes).value
    assert estimate('min_ade_6.4', scenes).value < estimate('ade_realised_6.4', scenes).value


def test_it_turns_as_told(scenes):
    turns = estimate('way', of(scenes, 'turn_left', 'turn_right'))
    assert turns.count >= 6 and turns.value >= 0.8


def test_it_goes_where_it_is_told_and_not_elsewhere():
    """The same instants with either instruction: pictures and history cannot tell which."""
    driver = CheckpointDriver(NANO, PlannerSettings())
    apart = []
    for scene_id in scene_ids(4, 1, validation=True, kinds=('turn_left', 'turn_right')):
        scene = draw(scene_id, driver.preprocessor)
        if scene.sample.facts['stop_line_m'] < FRONT_M:  # it is turning already
            continue
        turned = [heading_change(driver.plan(
            observation(scene.sample, scene.patches, f'Turn {way} at the junction'),
            scene_id.seed).candidates[0].xyz) for way in ('left', 'right')]
        apart.append(turned[0] - turned[1])
    assert len(apart) >= 4
    assert np.median(apart) > math.radians(40.0)


def test_it_agrees_with_itself(scenes):
    assert estimate('agrees', scenes).value >= 0.75


def test_it_stays_before_red_and_goes_at_green(scenes):
    assert estimate('red_stays', of(scenes, 'red_light')).value >= 0.5
    assert estimate('green_goes', of(scenes, 'green_light')).value >= 0.75


def test_it_is_small_and_says_how_it_was_made():
    assert sum(file.stat().st_size for file in NANO.rglob('*') if file.is_file()) < 12_000_000
    notes = NANO / 'training'
    settings = json.loads((notes / 'settings.json').read_text(encoding='utf-8'))
    assert settings == json.loads(json.dumps(TrainingSettings().as_dict()))
    assert (notes / 'curves.png').stat().st_size > 5000
    log = [json.loads(line) for line in
           (notes / 'log.jsonl').read_text(encoding='utf-8').splitlines()]
    # From nothing and whole: every stage from its first step to its last, and once.
    wanted = [(stage, step) for stage in ('vision', 'glance', 'reasoning', 'expert')
              for step in range(20, settings[stage]['steps'] + 1, 20)]
    assert [(entry['stage'], entry['step']) for entry in log] == wanted
    assert not list(NANO.rglob('*.part'))


def test_the_documented_command_is_the_one_that_made_it():
    """Its settings are those that it came with."""
    text = (ROOT / 'docs' / 'nano.md').read_text(encoding='utf-8')
    told = text[text.index('## What it took'):].replace('\\\n', ' ')
    command = next(line for line in told.splitlines() if ' train DIR' in line)
    words = shlex.split(command, comments=True)
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    asked = train.settings(parser.parse_args(words[words.index('train') + 1:]))
    made = json.loads((NANO / 'training' / 'settings.json').read_text(encoding='utf-8'))
    assert made == json.loads(json.dumps(asked.as_dict()))
