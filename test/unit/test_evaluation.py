"""`alpamayo evaluate`: who knows the answer is perfect, who does not is not; a golden one runs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from golden_data import PIXELS, V1_5

from alpamayo_ros.cli import main as cli
from alpamayo_ros.evaluation import scenes
from alpamayo_ros.evaluation.figures import FIGURES
from alpamayo_ros.evaluation.judge import judge
from alpamayo_ros.evaluation.report import Report
from alpamayo_ros.evaluation.run import Options, evaluate
from alpamayo_ros.evaluation.seeds import TEST_BASE, scene_ids
from alpamayo_ros.settings import PlannerSettings
from alpamayo_ros.types import Candidate, ImagePatches, Plan, Reasoning
from alpamayo_ros.world.causes import KINDS
from alpamayo_ros.world.samples import draw_sample

SOME = ('red_light', 'green_light', 'slow_lead', 'turn_left', 'blocked_lane')


def flat_patches(image: np.ndarray) -> ImagePatches:
    """The image's mean colour in place of patches: enough to know pictures apart."""
    return ImagePatches(torch.from_numpy(image.reshape(-1, 3).mean(axis=0)), (1, 2, 2),
                        image.shape[:2])


class Fake:
    """Plans by a rule that sees the scene's truth. ``rule``: sample to (text, paths)."""

    preprocessor = staticmethod(flat_patches)

    def __init__(self, rule, accepts_navigation=True):
        self.rule, self.calls, self.accepts_navigation = rule, [], accepts_navigation

    def plan(self, observation, seed, *, mode='single', guidance=0.0):
        self.calls.append((observation, seed, mode, guidance))
        sample = draw_sample(KINDS[(seed - TEST_BASE) % len(KINDS)], seed)
        return made(sample, *self.rule(sample, observation), mode)


def made(sample, text, paths, mode='single') -> Plan:
    candidates = tuple(
        Candidate(index, 0, path, np.tile(np.eye(3), (64, 1, 1)), np.zeros((64, 2)))
        for index, path in enumerate(paths))
    return Plan(0, 0.1, speed(sample), (Reasoning(text, '', '', 1, False),), candidates, 0, mode,
                {'all': 1.0})


def speed(sample) -> float:
    return float(sample.drive.ego[sample.step, 3])


def knowing(sample, observation):
    return sample.reasoning, [sample.future_xyz, *sample.others]


def constant(sample, observation):
    ahead = np.zeros((64, 3))
    ahead[:, 0] = speed(sample) * 0.1 * np.arange(1, 65)
    return 'Nothing.', [ahead]


def report(rule, accepts_navigation=True, **changes) -> tuple[Report, Fake]:
    driver = Fake(rule, accepts_navigation)
    options = Options(V1_5, **{'per_kind': 1, 'kinds': SOME, **changes})
    return Report(options, evaluate(options, driver=driver)), driver


def test_who_knows_the_truth_is_perfect():
    found, _ = report(knowing)
    for key in ('cause', 'readable', 'agrees', 'red_stays', 'green_goes', 'way', 'futures',
                'planned'):
        assert found.total[key].count and found.total[key].value == 1.0, key
    for key in ('ade_1', 'ade_6.4', 'ade_realised_6.4', 'min_ade_3', 'min_ade_6.4'):
        assert found.total[key].value == 0.0
    assert found.total['velocity_6.4'].value > 1.0 < found.total['turn_6.4'].value


def test_the_driver_of_the_world_reaches_every_goal():
    """What the world's own driver does counts as right, in scenes enough for every figure."""
    judged = []
    for scene_id in scene_ids(8, 1, validation=True):
        sample = draw_sample(scene_id.kind, scene_id.seed)
        judged.append(judge(sample, made(sample, *knowing(sample, None))).figures)
    for key in ('cause', 'object', 'side', 'manoeuvre', 'agrees', 'red_stays',
                'red_stays_going', 'green_goes', 'walker_yields', 'way', 'way_ahead', 'futures'):
        found = FIGURES[key].estimate(figures[key] for figures in judged)
        assert found.count and found.value == 1.0, (key, found)
    assert FIGURES['red_velocity'].estimate(
        figures['red_velocity'] for figures in judged).value < 1.0


def test_constant_velocity_is_as_good_as_its_baseline():
    found, _ = report(constant)
    for seconds in ('1', '3', '6.4'):
        # The world is driven on the unicycle, so the speed at t0 is known exactly.
        assert found.total[f'ade_{seconds}'].value == pytest.approx(
            found.total[f'velocity_{seconds}'].value)
    assert found.total['cause'].value == found.total['agrees'].value == 0.0
    assert found.total['red_stays'].value == found.total['red_velocity'].value
    assert found.total['futures'].value == 0.0


def test_the_changed_ways_change_what_they_say():
    found, driver = report(knowing, kinds=('turn_left', 'red_light'), per_kind=1, ablations=1,
                           modes=1, guidance=1.7)
    by_way = {}
    for scene in found.scenes:
        ways = list(scene.judged)
        calls = [call for call in driver.calls if call[1] == scene.scene_id.seed]
        by_way |= {(scene.scene_id.kind, way): call
                   for way, call in zip(ways, calls, strict=True)}
    assert [way for kind, way in by_way if kind == 'red_light'] == [
        'plain', 'blank', 'swapped', 'multi']
    plain, guided, blank, swapped, untold, multi = (by_way['turn_left', way] for way in (
        'plain', 'guided', 'blank', 'swapped', 'untold', 'multi'))

    def look(call):
        return torch.stack([frame.patches.pixel_values for frames in call[0].frames
                            for frame in frames])

    assert look(plain).shape == (24, 3)
    assert torch.equal(look(guided), look(plain)) and torch.equal(look(multi), look(plain))
    assert (look(blank) == scenes.GREY).all()
    assert not torch.isclose(look(swapped), look(plain)).all(dim=1).any()
    assert plain[0].navigation and plain[0].navigation == blank[0].navigation
    assert untold[0].navigation is None
    assert [call[2:] for call in (plain, guided, multi)] == [
        ('single', 0.0), ('single', 1.7), ('multi', 0.0)]
    for call in (plain, swapped):
        assert call[0].history_xyz is not None and np.array_equal(
            call[0].history_xyz, plain[0].history_xyz)


def test_who_takes_no_instruction_is_not_judged_by_it():
    found, driver = report(knowing, False, kinds=('turn_left', 'red_light'), ablations=1, modes=1)
    assert [list(scene.judged) for scene in found.scenes] == [
        ['plain', 'blank', 'swapped', 'multi']] * 2
    assert {(call[0].navigation, call[3]) for call in driver.calls} == {(None, 0.0)}
    for scene in found.scenes:
        for judged in scene.judged.values():
            assert judged.figures['way'] is None and judged.figures['way_ahead'] is None
    result = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(result['changed']) == {'blank', 'swapped', 'multi'}
    assert result['all']['way']['value'] is None and result['all']['way']['reached'] is None
    assert 'instructed way' not in found.table() and 'guidance' not in found.table()


def test_the_machine_is_described_as_it_was_before_the_first_plan(monkeypatch):
    events = []

    def describe(device):
        events.append('described')
        return {'date': 'then', 'machine': {'cpu': 'abacus', 'cores': 1}, 'versions': {'torch': 0}}

    def plan(sample, observation):
        events.append('planned')
        return knowing(sample, observation)

    monkeypatch.setattr('alpamayo_ros.evaluation.run.describe', describe)
    found, _ = report(plan, kinds=('red_light',))
    assert events == ['described', 'planned']
    assert found.as_dict()['date'] == 'then' and found.table().startswith('then  abacus')


def test_a_row_says_how_many_scenes_each_of_its_columns_is_about():
    def silent_when_blind(sample, observation):
        text, paths = knowing(sample, observation)
        blind = (observation.frames[0][0].patches.pixel_values == scenes.GREY).all()
        return 'A van blocks the lane, so pass it or wait.' if blind else text, paths

    found, _ = report(silent_when_blind, kinds=('red_light', 'curve'), ablations=1)
    rows = [[cell.strip() for cell in row.split('|')] for row in
            found.table().partition('Cameras blanked')[2].partition('Another')[0].splitlines()]
    counts = {row[1]: row[4] for row in rows if len(row) == 6}
    assert counts['reasoning and path agree'] == '2, 0'
    assert counts['the cause named is the true one'] == '2'


def test_the_stranger_is_of_another_kind_and_each_in_turn():
    own = scene_ids(1, 4)[0]
    others = [scenes.stranger(own, number, 4, validation=False) for number in range(13)]
    assert {other.kind for other in others} == set(KINDS) - {own.kind}
    assert all(other in scene_ids(number + 1, 4) for number, other in enumerate(others))


GOLDEN = Options(V1_5, per_kind=1, kinds=('red_light', 'turn_right'), ablations=1, modes=1,
                 settings=PlannerSettings(num_candidates=4, max_generation_length=6, **PIXELS))


@pytest.fixture(scope='module')
def golden():
    return Report(GOLDEN, evaluate(GOLDEN))


def test_a_checkpoint_is_evaluated_from_end_to_end(golden):
    result = json.loads(json.dumps(golden.as_dict(), allow_nan=False))
    assert result['checkpoint']['model_type'] == 'alpamayo1_5'
    assert len(result['checkpoint']['fingerprint']) >= 16
    assert {key: result['arguments'][key] for key in PIXELS} == PIXELS
    assert set(result['changed']) == {'guided', 'blank', 'swapped', 'untold', 'multi'}
    assert result['all']['cause']['scenes'] == 2
    assert result['all']['min_ade_6.4']['value'] <= result['all']['ade_realised_6.4']['value']
    assert result['changed']['multi']['scenes'] == 2
    assert result['changed']['multi']['milliseconds_a_plan']['multi'] > 0
    table = golden.table()
    assert 'minADE 6.4 s' in table and '| red_light ' in table
    details = golden.details()
    assert len(details) == 2 * 4 + 2 and all('reasoning' in entry for entry in details)
    assert [entry['variant'] for entry in details] == [
        name for scene in golden.scenes for name in scene.judged]


def test_processes_give_the_figures_of_one(golden):
    several = dataclasses.replace(GOLDEN, workers=2, ablations=0, modes=0)
    found = Report(several, evaluate(several)).as_dict()
    alone = golden.as_dict()
    assert (found['all'], found['kinds']) == (alone['all'], alone['kinds'])
    assert found['checkpoint'] == alone['checkpoint']


def test_the_command_writes_json_and_pictures(tmp_path, capsys):
    arguments = ['evaluate', V1_5, '--scenes', 1, '--kinds', 'cones', '--workers', 1,
                 '--candidates', 3, '--num-inference-steps', 2, '--max-tokens', 4,
                 '--min-pixels', PIXELS['min_pixels'],
                 '--max-pixels', PIXELS['max_pixels'], '--output', tmp_path / 'results.json',
                 '--details', tmp_path / 'details.jsonl', '--show', tmp_path / 'pictures']
    assert cli.main(list(map(str, arguments))) == 0
    shown = capsys.readouterr()
    assert 'All kinds' in shown.out and '1/1' in shown.err
    asked = json.loads((tmp_path / 'results.json').read_text())['arguments']
    assert asked['scenes'] == 1 and asked['num_inference_steps'] == 2
    entries = (tmp_path / 'details.jsonl').read_text().splitlines()
    assert [json.loads(entry)['kind'] for entry in entries] == ['cones']
    picture = matplotlib.image.imread(tmp_path / 'pictures' / 'cones_0.png')
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


HERE = str(Path(__file__))


@pytest.mark.parametrize('arguments, message', [
    (['--guidance', '0'], 'guidance is 0.0'), (['--device', 'abacus'], 'abacus'),
    (['--guidance', 'inf'], 'guidance is inf; expected a finite weight above 0'),
    (['--seed', '10000'], 'seed is 10000'), (['--kinds', 'cones', 'cones'], 'distinct'),
    (['--scenes', '200000'], 'scenes of each kind'),
    (['--output', 'no/such/folder/x.json'], 'expected a folder'),
    (['--output', '.'], "'.' is a folder; expected a file"),
    (['--details', '.'], "'.' is a folder; expected a file"),
    (['--details', f'{HERE}/x'], 'expected a folder that exists'),
    (['--show', HERE], f"'{HERE}' is no folder"), (['--show', f'{HERE}/x/y'], 'is no folder'),
    (['--min-pixels', '9', '--max-pixels', '8'], 'max_pixels is 8'),
    (['--min-pixels', '200000'], 'min_pixels is 200000 and max_pixels 196608'),
    (['--max-pixels', '9216'], 'min_pixels is 163840 and max_pixels 9216')])
def test_impossible_arguments_are_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', None)
    assert cli.main(['evaluate', str(V1_5), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('argument, there', [
    ('--output', False), ('--details', True), ('--show', True), ('--show', False)])
def test_places_that_may_not_be_written_are_2(argument, there, tmp_path, capsys, monkeypatch):
    place = tmp_path / 'place'
    if there:
        place.mkdir() if argument == '--show' else place.touch()
    asked = place if there else tmp_path
    # Whoever runs the tests may write everywhere.
    monkeypatch.setattr('os.access', lambda path, mode: path != asked)
    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', None)
    assert cli.main(['evaluate', str(V1_5), argument, str(place)]) == 2
    assert f"'{place}' cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize('arguments, error', [
    ([], ValueError), ([], torch.OutOfMemoryError),
    (['--output', '/dev/full'], None), (['--details', '/dev/full'], None)])
def test_what_fails_on_the_way_is_1(arguments, error, capsys, monkeypatch):
    def fake(options, progress):
        if error:
            raise error('the scene is gone; expected one')
        return evaluate(options, driver=Fake(knowing))

    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', fake)
    command = ['evaluate', str(V1_5), '--kinds', 'cones', '--scenes', '1', *arguments]
    assert cli.main(command) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith('alpamayo evaluate: ')
    assert ('No space left' if arguments else 'expected one') in shown.err
    assert ('All kinds' in shown.out) is bool(arguments)


@pytest.mark.parametrize('device, asked, workers', [
    ('cpu', [], len(os.sched_getaffinity(0))), ('cuda', [], 1), ('cuda', ['--workers', '3'], 3)])
def test_every_process_on_a_gpu_is_asked_for(device, asked, workers, monkeypatch):
    given = []

    def fake(options, progress):
        given.append(options.workers)
        return evaluate(dataclasses.replace(options, device='cpu'), driver=Fake(knowing))

    monkeypatch.setattr('alpamayo_ros.evaluation.run.evaluate', fake)
    monkeypatch.setattr('alpamayo_ros.model.checkpoint.parse_device', torch.device)
    assert cli.main(['evaluate', str(V1_5), '--kinds', 'cones', '--scenes', '1',
                     '--device', device, *asked]) == 0
    assert given == [workers]


def killed(options):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_1(capsys, monkeypatch):
    monkeypatch.setattr('alpamayo_ros.evaluation.run._describe', killed)
    assert cli.main(['evaluate', str(V1_5), '--workers', '2']) == 1
    assert ('alpamayo evaluate: one of 2 workers was ended from outside'
            in capsys.readouterr().err)


def test_a_missing_checkpoint_is_1(tmp_path, capsys):
    assert cli.main(['evaluate', str(tmp_path / 'none'), '--workers', '1']) == 1
    assert 'none' in capsys.readouterr().err
