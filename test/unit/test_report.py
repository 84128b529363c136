"""The report without a browser: reading a run, choosing plans, drawing, figures, the command."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import runs

from alpamayo_ros.calibration import CalibrationError, CameraModel, load_rig
from alpamayo_ros.cli import main as cli
from alpamayo_ros.replay.folder import RunError
from alpamayo_ros.report.above import HEIGHT, WIDTH, scene_above
from alpamayo_ros.report.charts import bar_chart, strip, time_chart
from alpamayo_ros.report.drawing import (
    SHADES,
    Ground,
    band,
    dense,
    rank_colours,
    shade,
    svg_path,
    view_shapes,
)
from alpamayo_ros.report.metric_names import describe, headline, longest
from alpamayo_ros.report.page import PageOptions, render_report
from alpamayo_ros.report.plan_view import decimals_for, number
from alpamayo_ros.report.run_folder import PlanArrays, load_run
from alpamayo_ros.report.selection import choose
from alpamayo_ros.report.summary import refusals, statistics, tiles, what_was_run
from alpamayo_ros.resources import share_path
from alpamayo_ros.rig import FOOTPRINT_M, NOMINAL_RIG


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return runs.make_run(tmp_path_factory.mktemp('runs') / 'a', plans=6, refused=(2,),
                         cameras=('front_wide', 'rear_left'), bias=0.002)


@pytest.fixture(scope='module')
def run(folder):
    return load_run(folder)


def plan(curvatures=(0.0, 0.01, -0.01), *, truth=0.0, bad=0, speed=8.0):
    return PlanArrays(runs.arc(truth, speed, 16, -15), runs.arc(truth, speed),
                      np.stack([runs.arc(curvature, speed) for curvature in curvatures]),
                      np.arange(len(curvatures)) < len(curvatures) - bad, {})


def numbers(d):
    points = np.array(re.findall(r'-?\d+(?:\.\d+)?', d), float).reshape(-1, 2)
    assert len(points) > 1
    return points


def test_a_run_is_read_as_it_was_written(run):
    assert [record.status for record in run.instants] == ['planned'] * 2 + ['refused'] + [
        'planned'] * 3
    assert [record.seconds for record in run.instants] == pytest.approx(np.arange(6) * 0.5)
    assert run.instants[2].reason.startswith('no frame within 60 ms')
    assert run.instants[0].figures['input_age_ms'] == 40.0
    assert 80 <= run.instants[0].figures['time.expert'] <= 85
    assert 'ade_6.4s' not in run.instants[0].figures  # null: the drive ends before
    assert np.isnan(run.values('ade_3s')).tolist() == [False, False, True, False, True, True]
    arrays = run.plans[0].arrays()
    assert arrays.candidates.shape == (8, 64, 3) and set(arrays.views) == {
        'front_wide', 'rear_left'}
    assert arrays.selected is not None and arrays.plausible.tolist() == [True] * 7 + [False]
    assert run.plans[0].arrays(views=False).views == {}


def test_reasonings_are_in_the_order_of_the_candidates(folder, tmp_path):
    rewrite(folder, tmp_path, reasoning=['one', 'two'], reasoning_of=[1, 0, 1])
    assert load_run(tmp_path).instants[0].reasoning == ('two', 'one', 'two')


def rewrite(folder, to, **changes):
    """A copy of the run's text files with the first instant changed."""
    lines = (folder / 'plans.jsonl').read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **changes})
    (to / 'plans.jsonl').write_text('\n'.join(lines) + '\n')
    (to / 'run.json').write_text((folder / 'run.json').read_text())


@pytest.mark.parametrize('changes, message', [
    ({'status': 'lost'}, "plans.jsonl' line 1: status is 'lost'; expected one of planned"),
    ({'t0_ns': None}, 'line 1 has no t0_ns'),
    ({'t0_ns': runs.START_NS + 500_000_000}, 'has the instant .* ns twice'),
    ({'reasoning_of': [3]}, r'reasoning_of is \[3\]; expected indices of the 1 reasonings')])
def test_a_broken_line_is_named(folder, tmp_path, changes, message):
    rewrite(folder, tmp_path, **changes)
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)


@pytest.mark.parametrize('change, message', [
    ({'format': 7}, 'format 7; expected 1'), ({'dt_s': 0}, 'dt_s is 0; expected seconds above 0'),
    ({'dt_s': 'x'}, "dt_s is 'x'")])
def test_a_broken_run_json_is_named(folder, tmp_path, change, message):
    rewrite(folder, tmp_path)
    info = json.loads((tmp_path / 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps({**info, **change}))
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)


def test_a_line_that_was_being_written_is_left_out(folder, tmp_path):
    rewrite(folder, tmp_path)
    text = (tmp_path / 'plans.jsonl').read_text()
    (tmp_path / 'plans.jsonl').write_text(text[:-20])
    assert len(load_run(tmp_path).instants) == 5


def test_arrays_that_are_missing_damaged_or_of_another_shape_are_named(folder, tmp_path):
    rewrite(folder, tmp_path)
    record = load_run(tmp_path).plans[0]
    with pytest.raises(RunError, match='000000.npz'):
        record.arrays()
    (tmp_path / 'plans').mkdir()
    whole = (folder / 'plans' / '000000.npz').read_bytes()
    target = tmp_path / 'plans' / '000000.npz'
    for damaged in (whole[:len(whole) // 2], b'', b'nothing',
                    whole[:200] + bytes(400) + whole[600:]):
        target.write_bytes(damaged)
        with pytest.raises(RunError, match='000000.npz'):
            record.arrays()
    values = dict(np.load(folder / 'plans' / '000000.npz'))
    np.savez(target, **{**values, 'plausible': np.ones(3, bool)})
    with pytest.raises(RunError, match=r'plausible has shape \(3,\); expected \(8,\)'):
        record.arrays()


@pytest.mark.parametrize('name, title, worse', [
    ('ade_6.4s', 'ADE at 6.4 s, m', 'high'), ('min_ade_1s', 'minADE at 1 s, m', 'high'),
    ('miss_3s', 'miss at 3 s', 'high'), ('max_lateral_accel_mps2', 'max lateral acceleration, m/s²',
                                         'high'),
    ('max_yaw_rate_radps', 'max yaw rate, rad/s', 'high'), ('agreement', 'agreement', 'low'),
    ('plausible_share', 'plausible share', 'low'), ('max_speed_mps', 'max speed, m/s', ''),
    ('diversity_m', 'distance between candidates, m', ''), ('time.expert', 'time: expert, ms',
                                                           'high'),
    ('input_age_ms', 'input age, ms', 'high'), ('something_new', 'something new', 'high')])
def test_names_of_figures_say_unit_and_which_way_is_worse(name, title, worse):
    assert (describe(name).title, describe(name).worse) == (title, worse)


def test_the_list_shows_the_longest_horizon_that_enough_plans_have():
    counts = {'ade_1s': 9, 'ade_6.4s': 5, 'ade_3s': 8, 'min_ade_3s': 8, 'min_ade_6.4s': 3,
              'max_jerk_mps3': 9, 'time.total': 9, 'agreement_along': 9}
    assert headline(counts) == ['ade_6.4s', 'min_ade_3s', 'time.total']
    assert longest(counts, 'agreement') is None


def test_the_worst_and_evenly_spread_plans_are_chosen(tmp_path):
    plans = load_run(runs.make_run(tmp_path / 'long', plans=60, candidates=3, cameras=())).plans
    # The drive's own figure grows with the candidates' distance, which goes up and down.
    assert choose(plans, 60).indices == tuple(range(60))
    chosen = choose(plans, 12)
    assert len(chosen.indices) == 12 and list(chosen.indices) == sorted(set(chosen.indices))
    assert chosen.rule.startswith('12 of 60 plans are shown: the 6 worst by ADE at 6.4 s, m')
    known = {index: record.figures['ade_6.4s'] for index, record in enumerate(plans)
             if 'ade_6.4s' in record.figures}
    worst = sorted(known, key=lambda index: -known[index])[:6]
    assert set(worst) <= set(chosen.indices)
    others = [index for index in chosen.indices if index not in worst]
    assert max(np.diff([0, *others, 59])) <= 16


def test_lines_keep_their_ends_and_lose_what_no_one_sees():
    straight = np.stack([np.linspace(0, 100, 400), np.linspace(0, 50, 400)], 1)
    assert svg_path([straight]) == 'M0 0L100 50.0'
    assert svg_path([straight[:1], np.full((5, 2), np.nan)]) == ''
    bend = np.array([[0, 0], [50, 0], [50, 50.0]])
    assert numbers(svg_path([bend])).tolist() == bend.tolist()
    assert svg_path([bend], closed=True).endswith('Z')


def test_ranks_go_through_all_shades():
    shades = [shade(rank, 32) for rank in range(1, 32)]
    assert shades == sorted(shades) and shades[0] == 0 and set(shades) == set(range(SHADES))
    assert shade(1, 2) == 0 and shade(63, 64) == SHADES - 1
    assert len(set(rank_colours())) == SHADES


def test_a_band_is_as_wide_as_the_vehicle_and_on_its_left_and_right():
    edges = band(runs.arc(0.05, 5.0), 0.95)
    assert np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1) == pytest.approx(1.9)
    assert edges[0, 0] == pytest.approx([0, 0.95, 0], abs=0.02)
    assert np.linalg.norm(np.diff(dense(runs.arc(0.05, 5.0)), axis=0), axis=1).max() < 0.41
    assert len(band(np.zeros((64, 3)), 1.0)) == 0


def test_paths_in_a_view_lie_where_the_camera_sees_them():
    camera = CameraModel.from_mounted(NOMINAL_RIG['front_wide'], 400, 225)
    arrays = plan((0.0, 0.02, -0.02), bad=1)
    shapes = {shape.css: numbers(shape.d) for shape in view_shapes(Ground.of(arrays, 0.95), camera)}
    assert set(shapes) == {'rank k0', 'bad', 'band', 'truth', 'truth under', 'selected',
                           'selected under'}
    end = camera.project(arrays.candidates[0][-1])
    assert shapes['selected'][-1] == pytest.approx(end, abs=0.06)
    assert shapes['rank k0'][:, 0].min() < end[0] - 20 < end[0] + 20 < shapes['bad'][:, 0].max()
    # Nothing of it is behind the vehicle.
    rear = CameraModel.from_mounted(NOMINAL_RIG['rear_left'], 400, 225)
    assert view_shapes(Ground.of(plan(), 0.95), rear) == []


def test_without_a_plausible_candidate_nothing_is_selected():
    camera = CameraModel.from_mounted(NOMINAL_RIG['front_wide'], 400, 225)
    css = {shape.css for shape in view_shapes(Ground.of(plan(bad=3), 0.95), camera)}
    assert css == {'bad', 'truth', 'truth under'}


def test_the_scene_from_above_has_left_on_the_left_and_one_scale():
    scene = scene_above(plan((0.02, -0.02)), FOOTPRINT_M, 0.1)
    shapes = {shape.css: numbers(shape.d) for shape in scene.shapes}
    middle = (scene.left + scene.right) / 2
    left, right = shapes['selected'], shapes['rank k0']
    assert left[-1, 0] < middle < right[-1, 0] and left[-1, 1] < left[0, 1]
    scale = scene.bar_px / scene.bar_m
    assert middle - left[-1, 0] == pytest.approx(runs.arc(0.02, 8.0)[-1, 1] * scale, abs=0.1)
    grid = np.diff([tick.place for tick in scene.aside])
    assert np.abs(grid) == pytest.approx(scene.bar_px)
    assert np.abs(np.diff([tick.place for tick in scene.ahead])) == pytest.approx(scene.bar_px)
    zero = next(tick.place for tick in scene.ahead if tick.text == '0')
    vehicle = numbers(scene.vehicle)
    assert vehicle[:, 1].max() == pytest.approx(zero - FOOTPRINT_M[0] * scale, abs=0.06)
    assert [second for _, _, second in scene.dots] == [1, 2, 3, 4, 5, 6]
    assert len(scene.steps) == 16
    inside = np.concatenate(list(shapes.values()))
    assert ((inside > 0) & (inside < [WIDTH, HEIGHT])).all()


def test_wild_candidates_do_not_decide_the_scale_and_plans_beside_each_other_share_it():
    still = plan(speed=1.0)
    wild = PlanArrays(still.history, still.future, np.concatenate([
        still.candidates, np.full((1, 64, 3), 1e7), np.full((1, 64, 3), np.nan)]),
        np.array([True] * 3 + [False] * 2), {})
    assert scene_above(wild, FOOTPRINT_M, 0.1).bar_px == scene_above(
        still, FOOTPRINT_M, 0.1).bar_px
    fast = plan(speed=20.0)
    together = [scene_above(*pair[:1], FOOTPRINT_M, 0.1, pair[1]).bar_px / scene_above(
        *pair[:1], FOOTPRINT_M, 0.1, pair[1]).bar_m for pair in ((still, fast), (fast, still))]
    assert together[0] == together[1]


def test_a_chart_breaks_its_line_where_there_is_no_value():
    values = np.array([1.0, 2.0, np.nan, 4.0, 3.0])
    chart = time_chart('t', 'm', np.arange(5.0), [('a', 'one', values)], np.array([2.0]))
    assert chart.lines[0].d.count('M') == 2 and len(chart.lines[0].dots) == 4
    heights = [y for _, y in chart.lines[0].dots]
    assert heights[2] < heights[3] < heights[1] < heights[0]
    assert chart.refused == [pytest.approx((chart.left + chart.right) / 2)]
    assert time_chart('t', 'm', np.arange(2.0), [('a', 'one', np.full(2, np.nan))],
                      np.empty(0)) is None
    one = time_chart('t', 'm', np.zeros(1), [('a', 'one', np.zeros(1))], np.empty(0))
    assert np.isfinite(one.lines[0].dots).all()


def test_bars_and_strips_are_to_scale():
    chart = bar_chart('t', 'ms', [('a', (50.0, 80.0, 100.0), '50'), ('b', (0.0, 0.0, 0.0), '0')])
    first, second = chart.rows
    lengths = np.array(first.marks) - chart.left
    assert lengths / lengths[2] == pytest.approx([0.5, 0.8, 1.0])
    assert second.marks == [chart.left] * 3 and first.y < second.y
    assert bar_chart('t', 'ms', []) is None
    places, median = strip(np.array([0.0, 10.0, np.nan, 4.0]))
    assert places == pytest.approx([3, 60.6, 147]) and median == pytest.approx(60.6)
    assert strip(np.ones(4)) is None


@pytest.mark.parametrize('value, text', [
    (0.0, '0'), (0.0123, '0.012'), (0.5, '0.50'), (3.14159, '3.14'), (31.4, '31.4'),
    (314.2, '314'), (-2.5, '−2.50'), (-1e-9, '0.000'), (float('nan'), '–'), (None, '–'),
    (3e7, '3.00e+07')])
def test_numbers_have_three_digits_that_count(value, text):
    assert number(value) == text


def test_a_column_has_one_number_of_decimals():
    assert decimals_for([0.001, 12.0, 13.0, float('nan')]) == 1
    assert number(0.001, 1) == '0.0' and number(-0.001, 1) == '0.0'


def test_the_summary_adds_up(run):
    found = {tile.label: tile for tile in tiles(run)}
    assert (found['plans made'].value, found['plans made'].unit) == ('5', 'of 6')
    assert found['plans made'].note == '1 refused'
    ade = run.values('ade_3s')
    assert found['ADE at 3 s'].value == number(float(np.nanmean(ade)))
    assert found['ADE at 3 s'].note.startswith('mean of 3 plans, median')
    rows = {row.metric.name: row for row in statistics(run)}
    assert rows['ade_3s'].count == np.isfinite(ade).sum() == 3
    assert float(rows['ade_3s'].mean) == pytest.approx(np.nanmean(ade), abs=0.006)
    assert float(rows['input_age_ms'].high) == 45.0


def test_refusals_count_together_when_only_numbers_differ(tmp_path):
    run = load_run(runs.make_run(tmp_path / 'r', plans=8, refused=(1, 2, 3, 6), cameras=()))
    rows = refusals(run.instants)
    assert [(row.stream, row.count, row.spans) for row in rows] == [
        ('front_wide', 4, '0.5–1.5, 3.0 s')]
    assert '91 ms' in rows[0].reason


def test_what_was_run_is_flat_and_leaves_out_what_is_empty():
    rows = what_was_run({'format': 1, 'seed': 0, 'expert': {'backend': 'torch', 'fingerprint': ''},
                         'cameras': ['a', 'b'], 'calibration': {'a': 1}, 'bag': 'x\x1b'})
    assert rows == [('seed', '0'), ('expert backend', 'torch'), ('cameras', 'a, b'),
                    ('bag', r'x\x1b')]


def test_the_page_is_whole_and_reaches_for_nothing(run):
    text = render_report(run, load_rig(share_path('config', 'rig.yaml')))
    assert text.count('<article class="plan"') == 5
    assert text.count('data:image/jpeg;base64,') == 10
    outside = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', text)
    assert outside == [] and 'http' not in re.sub(r'<script.*?</script>', '', text,
                                                  flags=re.DOTALL).replace('http-equiv', '')
    assert "default-src 'none'" in text and 'NaN' not in text
    few = render_report(run, None, PageOptions(most_plans=2, thumbnail_px=64))
    assert few.count('<article class="plan"') == 2 and '2 of 5 plans are shown' in few
    assert 'No camera is calibrated' in few and len(few) < len(text)


def test_a_picture_that_cannot_be_read_and_a_run_without_plans_still_give_a_page(folder, tmp_path):
    whole = load_run(folder)
    values = dict(np.load(folder / 'plans' / '000000.npz'))
    rewrite(folder, tmp_path)
    (tmp_path / 'plans').mkdir()
    for record in whole.plans:
        np.savez(tmp_path / 'plans' / record.arrays_path.name,
                 **{**values, 'view_front_wide': np.arange(50, dtype=np.uint8)})
    text = render_report(load_run(tmp_path), None)
    assert text.count('picture cannot be read') == 5
    nothing = load_run(runs.make_run(tmp_path / 'none', plans=2, refused=(0, 1)))
    assert 'No plan was made' in render_report(nothing, None)
    assert 'No plan was made' in render_report(
        load_run(runs.make_run(tmp_path / 'empty', plans=0)), None)


def test_calibration_of_the_run_is_used(folder, tmp_path):
    calibration = {'front_wide': {'size_px': [640, 360], 'k': [300, 0, 320, 0, 300, 180, 0, 0, 1],
                                  'd': [], 'distortion_model': 'plumb_bob',
                                  'position_m': [1.7, 0, 1.5],
                                  'orientation_xyzw': [-0.5, 0.5, -0.5, 0.5]}}
    path = runs.make_run(tmp_path / 'c', plans=1, calibration=calibration,
                         cameras=('front_wide', 'rear_left'))
    text = render_report(load_run(path), None)
    assert text.count('(not calibrated: no paths)') == 1 and 'class="band"' in text
    calibration['front_wide']['k'] = 3
    path = runs.make_run(tmp_path / 'd', plans=1, calibration=calibration)
    with pytest.raises(CalibrationError, match='k is 3; expected 9 numbers'):
        render_report(load_run(path), None)


def test_the_command_writes_the_page_and_says_where(folder, tmp_path, capsys):
    out = tmp_path / 'pages' / 'my report.html'
    assert cli.main(['report', str(folder), '--out', str(out), '--max-plans', '3']) == 0
    assert out.read_text(encoding='utf-8').startswith('<!doctype html>')
    assert '5 plans of 6 instants' in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize('arguments, code, message', [
    (('report', 'no/such/run'), 1, 'no/such/run'),
    (('report', '.', '--max-plans', '0'), 2, 'max-plans is 0; expected 1 or more'),
    (('report', '.', '--thumbnail-width', '5'), 2, 'thumbnail-width is 5; expected 32')])
def test_the_command_says_what_is_wrong(arguments, code, message, capsys):
    assert cli.main(list(arguments)) == code
    assert message in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_named(folder, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert cli.main(['report', str(folder), '--out', str(tmp_path / 'file' / 'x.html')]) == 1
    assert "x.html' cannot be written" in capsys.readouterr().err
