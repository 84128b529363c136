"""Two runs against each other: pairing, the bootstrap, thresholds, exit codes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import runs

from alpamayo_ros.cli import main as cli
from alpamayo_ros.compare.page import differing_most
from alpamayo_ros.compare.pairing import differing_settings, pair_runs
from alpamayo_ros.compare.statistics import (
    Difference,
    block_length,
    bootstrap_interval,
    compare_figures,
)
from alpamayo_ros.compare.thresholds import (
    Threshold,
    ThresholdError,
    Verdict,
    judge,
    load_thresholds,
)
from alpamayo_ros.replay.folder import RunError
from alpamayo_ros.report.metric_names import describe
from alpamayo_ros.report.run_folder import load_run
from alpamayo_ros.resources import share_path


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp('runs')
    a = runs.make_run(path / 'a', plans=24, refused=(3,), candidates=4, cameras=())
    b = runs.make_run(path / 'b', plans=24, refused=(3, 7), candidates=4, cameras=(), bias=0.004,
                      slow_ms=30, seed=1, reasoning_mode='multi')
    return a, b


@pytest.fixture(scope='module')
def pairs(folders):
    return pair_runs(*map(load_run, folders), 5)


def by_name(differences):
    return {difference.metric.name: difference for difference in differences}


def interval(values, block=1, seed=0, **options):
    return bootstrap_interval(values, block, np.random.default_rng(seed), **options)


def test_differences_are_paired_and_signed(pairs):
    found = by_name(compare_figures(pairs, 0))
    a = pairs.run_a.values('time.expert')
    b = pairs.run_b.values('time.expert')
    both = np.isfinite(a) & np.isfinite(b)
    expert = found['time.expert']
    assert expert.count == both.sum() == 22
    assert expert.mean == pytest.approx((b - a)[both].mean())
    assert expert.mean_a == pytest.approx(a[both].mean())
    assert 29 < expert.low < expert.mean < expert.high < 31 and expert.verdict == 'worse'
    assert found['ade_3s'].verdict == 'worse' and found['ade_3s'].worsening > 0.2
    assert found['max_jerk_mps3'].verdict == '' and found['max_jerk_mps3'].mean == 0
    planned = found['planned']
    assert (planned.count, planned.mean_a, planned.mean_b) == (24, 23 / 24, 22 / 24)
    assert planned.worsening == pytest.approx(1 / 24)
    # The other way round, everything has the other sign.
    back = by_name(compare_figures(pair_runs(pairs.run_b, pairs.run_a, 5), 0))
    assert back['ade_3s'].mean == pytest.approx(-found['ade_3s'].mean)
    assert back['ade_3s'].verdict == 'better'


def test_the_same_seed_gives_the_same_intervals(pairs):
    once, again, other = (by_name(compare_figures(pairs, seed)) for seed in (3, 3, 4))
    assert once == again
    assert once['time.total'].low != other['time.total'].low
    assert once['time.total'].mean == other['time.total'].mean


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for draw in range(300):
        low, high = interval(rng.normal(0.7, 2.0, 60), seed=draw, resamples=400)
        hits += low < 0.7 < high
    # 95 % of 300 is 285; a bootstrap of 60 values falls a little short.
    assert 268 <= hits <= 298


def test_blocks_keep_dependent_differences_from_looking_certain():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=400)
    # Each value is the mean of ten neighbours: alike like plans 0.1 s apart.
    values = np.convolve(noise, np.ones(10) / 10, mode='valid')
    single, blocks = interval(values, 1), interval(values, 20)
    assert blocks[1] - blocks[0] > 2 * (single[1] - single[0])


@pytest.mark.parametrize('count, block', [(7, 1), (7, 3), (8, 4), (5, 5), (9, 2)])
def test_a_block_bootstrap_is_what_its_definition_says(count, block):
    values = np.random.default_rng(count).normal(size=count)
    rng = np.random.default_rng(9)
    starts = rng.integers(0, count, (500, -(-count // block)))
    around = (starts[:, :, None] + np.arange(block)) % count
    means = values[around.reshape(500, -1)[:, :count]].mean(axis=1)
    assert interval(values, block, 9, resamples=500) == pytest.approx(
        np.percentile(means, [2.5, 97.5]))


def test_few_instants_have_no_interval_and_equal_ones_a_point():
    assert all(map(math.isnan, interval([1.0, 1.1, 1.2, 1.3])))
    assert interval([2.0] * 9, 2) == pytest.approx((2.0, 2.0))


def test_a_block_is_as_long_as_a_plan_looks_ahead_but_never_much_of_the_drive():
    assert block_length(np.arange(1000) * 0.5) == 13
    assert block_length(np.arange(1000) * 0.1) == 64
    assert block_length(np.arange(20) * 0.5) == 4
    assert block_length(np.arange(3) * 0.5) == 1 and block_length(np.zeros(1)) == 1


def difference(worse='high', mean=1.0, low=0.5, high=1.5):
    metric = describe({'high': 'ade_3s', 'low': 'agreement', '': 'max_speed_mps'}[worse])
    assert metric.worse == worse
    return Difference(metric, 10, 1.0, 1.0 + mean, mean, low, high, 1)


@pytest.mark.parametrize('made, verdict', [
    (difference(), 'worse'), (difference('low'), 'better'), (difference(''), 'different'),
    (difference(mean=-1, low=-1.5, high=-0.5), 'better'),
    (difference('low', -1, -1.5, -0.5), 'worse'), (difference(low=-0.1), ''),
    (difference(mean=1e-12, low=1e-13, high=1e-11), ''),
    (difference(low=math.nan, high=math.nan), '')])
def test_a_verdict_needs_zero_outside_the_interval(made, verdict):
    assert made.verdict == verdict


def test_instants_that_only_one_run_has_are_left_out(folders, tmp_path):
    late = runs.make_run(tmp_path / 'late', plans=20, candidates=4, cameras=(),
                         start_ns=runs.START_NS + 4_000_000_000)
    pairs = pair_runs(load_run(folders[0]), load_run(late), 5)
    assert len(pairs.instants) == 16 and pairs.instants[0][0].seconds == pytest.approx(4.0)
    assert pairs.summary == ('16 instants are in both runs, 16 of them with a plan in both; 8 in A '
                             'alone and 4 in B alone are left out.')


def test_change_since_the_plan_before_is_compared_where_that_was_the_same(folders, tmp_path):
    def with_steadiness(folder):
        path = folder / 'plans.jsonl'
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for number, line in enumerate(lines):
            line['metrics']['steadiness_m'] = None if number == 0 else float(number)
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
        return load_run(folder)

    a = with_steadiness(runs.make_run(tmp_path / 'x', plans=12, candidates=2, cameras=()))
    b = with_steadiness(runs.make_run(tmp_path / 'y', plans=12, candidates=2, cameras=(),
                                      refused=(5,)))
    # The plan after the one that B has not made has another plan before it.
    times = pair_runs(a, b, 5).values('steadiness_m')[2]
    assert (times / 0.5).round().tolist() == [1, 2, 3, 4, 7, 8, 9, 10, 11]
    sparse = with_steadiness(runs.make_run(tmp_path / 'z', plans=6, candidates=2, cameras=(),
                                           every_s=1.0))
    pairs = pair_runs(a, sparse, 5)
    assert len(pairs.planned) == 6 and len(pairs.values('steadiness_m')[0]) == 0
    assert 'steadiness_m' not in by_name(compare_figures(pairs, 0))


def test_runs_of_other_drives_instants_or_steps_are_refused(folders, tmp_path):
    a = load_run(folders[0])
    other = load_run(runs.make_run(tmp_path / 'bag', plans=6, candidates=2, cameras=(),
                                   bag='other/drive', bag_end_ns=7))
    with pytest.raises(RunError, match="of 'demo_drive' .* and .*one of 'drive' .*expected two"):
        pair_runs(a, other, 2)
    moved = load_run(runs.make_run(tmp_path / 'moved', plans=6, candidates=2, cameras=(),
                                   start_ns=runs.START_NS + 1))
    with pytest.raises(RunError, match='has 23 plans and .* 6; 0 of them are about the same '
                                       'instants; expected 2 or more'):
        pair_runs(a, moved, 2)
    with pytest.raises(RunError, match='22 of them .*; expected 23 or more'):
        pair_runs(a, load_run(folders[1]), 23)
    step = load_run(runs.make_run(tmp_path / 'step', plans=6, candidates=2, cameras=(), dt_s=0.2))
    with pytest.raises(RunError, match='dt_s is 0.1 in A and 0.2 in B'):
        pair_runs(a, step, 2)


def test_a_bag_may_lie_elsewhere(folders, tmp_path):
    elsewhere = runs.make_run(tmp_path / 'e', plans=6, candidates=2, cameras=(),
                              bag='data/demo_drive')
    assert len(pair_runs(load_run(folders[0]), load_run(elsewhere), 5).planned) == 5
    old = [load_run(runs.make_run(tmp_path / name, plans=6, candidates=2, cameras=(), bag=bag,
                                  bag_start_ns=None))
           for name, bag in (('f', 'there/drive'), ('g', 'drive'), ('h', 'other'))]
    assert len(pair_runs(*old[:2], 5).planned) == 6
    with pytest.raises(RunError, match='expected two runs of one drive'):
        pair_runs(*old[1:], 5)


def test_settings_that_differ_are_listed(pairs):
    assert differing_settings(pairs) == [('seed', '0', '1'), ('reasoning mode', 'single', 'multi')]


def test_the_plans_that_differ_most_come_first(pairs, tmp_path):
    found = differing_most(pairs, 6)
    distances = [distance for distance, _, _ in found]
    assert len(found) == 6 and distances == sorted(distances, reverse=True)
    everything = {}
    for a, b in pairs.planned:
        one, two = (record.arrays().candidates[0] for record in (a, b))
        everything[a.t0_ns] = np.linalg.norm(one - two, axis=1).mean()
    assert distances[0] == pytest.approx(max(everything.values()))
    assert all(a.t0_ns == b.t0_ns for _, a, b in found)
    none = load_run(runs.make_run(tmp_path / 'bad', plans=6, candidates=4, bad=4, cameras=()))
    assert differing_most(pair_runs(pairs.run_a, none, 5), 1)[0][0] == math.inf


def test_thresholds_are_judged_by_the_mean(pairs):
    differences = compare_figures(pairs, 0)
    found = by_name(differences)['time.expert'].mean
    for allowed, kept in ((found + 0.01, True), (found - 0.01, False)):
        assert judge(differences, [Threshold('time.expert', 'lower', allowed)])[0].kept == kept
    higher = judge(differences, [Threshold('time.expert', 'higher', 0.0)])[0]
    assert higher.kept and higher.worsening == pytest.approx(-found)
    missing = judge(differences, [Threshold('nothing', 'lower', 100.0)])[0]
    assert missing.difference is None and not missing.kept
    assert not Verdict(Threshold('x', 'lower', 1.0), difference(mean=math.nan)).kept


def test_the_shipped_thresholds_can_be_read():
    found = load_thresholds(share_path('config', 'thresholds.yaml'))
    assert {threshold.metric for threshold in found} >= {'planned', 'ade_3s', 'min_ade_3s'}
    # They agree with what the report says about the figures.
    for threshold in found:
        assert describe(threshold.metric).worse == {'lower': 'high', 'higher': 'low'}[
            threshold.better]


@pytest.mark.parametrize('content, message', [
    ('[', 'cannot be read'), ('[]', "has no 'thresholds'"), ('thresholds: []', "no 'thresholds'"),
    ('thresholds: [3]', 'entry 1 is 3; expected metric, better and allowed'),
    ('thresholds: [{metric: a, better: lower}]', 'entry 1 is'),
    ('thresholds: [{metric: a, better: less, allowed: 1}]', "better is 'less'; expected 'lower'"),
    ('thresholds: [{metric: a, better: lower, allowed: -1}]', 'allowed is -1; expected a number'),
    ('thresholds: [{metric: a, better: lower, allowed: yes}]', 'allowed is True'),
    ('thresholds: [{metric: a, better: lower, allowed: .nan}]', 'allowed is nan'),
    ('thresholds: [&a {metric: a, better: lower, allowed: 1}, *a]', "metric 'a' is there twice")])
def test_thresholds_that_make_no_sense_are_named(content, message, tmp_path):
    path = tmp_path / 'limits.yaml'
    path.write_text(content)
    with pytest.raises(ThresholdError, match=message) as caught:
        load_thresholds(path)
    assert 'limits.yaml' in str(caught.value)


def limits(tmp_path, allowed):
    path = tmp_path / 'limits.json'
    path.write_text(json.dumps({'thresholds': [
        {'metric': 'time.expert', 'better': 'lower', 'allowed': allowed}]}))
    return path


def test_the_exit_code_tells_worse_from_fine_and_from_broken(folders, tmp_path, capsys):
    out = tmp_path / 'out.html'
    command = ['compare', *map(str, folders), '--out', str(out), '--plans', '1']
    assert cli.main(command) == 0
    assert cli.main([*command, '--thresholds', str(limits(tmp_path, 40.0))]) == 0
    assert 'kept' in capsys.readouterr().out
    assert cli.main([*command, '--thresholds', str(limits(tmp_path, 10.0))]) == 3
    text = capsys.readouterr().out
    assert 'EXCEEDED  time.expert (lower is better): allowed 10 worse; found 29' in text
    assert 'time: expert, ms' in text and '24 instants are in both runs' in text
    page = out.read_text(encoding='utf-8')
    assert 'EXCEEDED' in page and page.count('class="couple"') == 1
    assert '<td>multi</td>' in page
    assert cli.main([*command, '--thresholds', str(tmp_path / 'none.yaml')]) == 1
    assert "none.yaml' cannot be read" in capsys.readouterr().err
    assert cli.main([*command, '--min-common', '50']) == 1
    assert 'expected 50 or more' in capsys.readouterr().err


@pytest.mark.parametrize('option, value', [('--min-common', '1'), ('--plans', '-1'),
                                           ('--seed', '-1')])
def test_values_that_cannot_be_are_2(folders, option, value, capsys):
    assert cli.main(['compare', *map(str, folders), option, value]) == 2
    assert f'{option[2:]} is {value}; expected' in capsys.readouterr().err
