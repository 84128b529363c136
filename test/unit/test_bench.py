"""Measuring: synthetic checkpoints, the copied cache to compare with, statistics, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from alpamayo_ros.bench import scene
from alpamayo_ros.bench.baseline import CopiedCacheExpert
from alpamayo_ros.bench.geometry import GEOMETRIES
from alpamayo_ros.bench.measure import Timing, take_turns
from alpamayo_ros.bench.node_section import NodeSection
from alpamayo_ros.bench.report import Report
from alpamayo_ros.bench.run import measure_model, measure_node
from alpamayo_ros.bench.synthetic import write_checkpoint
from alpamayo_ros.bench.workbench import Options, Workbench
from alpamayo_ros.cli.main import main
from alpamayo_ros.drive.camera_load import Sent
from alpamayo_ros.drive.node_process import NodeError
from alpamayo_ros.drive.node_share import plan_shares
from alpamayo_ros.images import decode_compressed
from alpamayo_ros.model.alpamayo import AlpamayoModel
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.decoding import never
from alpamayo_ros.model.expert.protocol import ExpertContext
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.model.tokenizer import load_tokenizer
from alpamayo_ros.planner import Planner
from alpamayo_ros.settings import PlannerSettings

SMALL_IMAGES = ['--image-size', '72x128', '--min-pixels', '4096', '--max-pixels', '9216']
TOKENS = 6


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return write_checkpoint(GEOMETRIES['tiny'], tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def bench(checkpoint):
    bench = Workbench(Options(checkpoint, candidates=4, tokens=TOKENS, image_size=(72, 128),
                              min_pixels=4096, max_pixels=9216, repeats=1))
    yield bench
    bench.planner.close()


def files_of(directory):
    return {path.relative_to(directory).as_posix(): path.read_bytes()
            for path in directory.rglob('*') if path.is_file()}


def test_a_synthetic_checkpoint_follows_from_its_seed(checkpoint, tmp_path):
    again = files_of(write_checkpoint(GEOMETRIES['tiny'], tmp_path / 'a'))
    other = files_of(write_checkpoint(GEOMETRIES['tiny'], tmp_path / 'b', seed=1))
    assert again == files_of(checkpoint)
    assert {name for name in again if again[name] != other[name]} == {'model.safetensors'}


def test_shards_hold_the_same_model(checkpoint, tmp_path):
    sharded = write_checkpoint(GEOMETRIES['tiny'], tmp_path / 'c', shard_bytes=300_000)
    assert len(list(sharded.glob('model-*-of-*.safetensors'))) > 1
    assert not (sharded / 'model.safetensors').exists()
    one, many = (Planner.load(path) for path in (checkpoint, sharded))
    state = many.runtime.model.state_dict()
    for name, value in one.runtime.model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize('name', ['tiny', 'small'])
def test_token_ids_are_those_of_the_tokenizer(name, tmp_path):
    geometry = GEOMETRIES[name]
    # Loading compares the tokens of config.json with those of the tokenizer.
    config = load_config(write_checkpoint(geometry, tmp_path))
    tokenizer = load_tokenizer(config)
    assert len(tokenizer.backend) == config.vocab_size == geometry.vocabulary
    text = 'Front camera: frame 3 <|cot_start|>keep 8 m/s\n<|traj_future_start|>'
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_r1_10b_has_the_sizes_of_the_released_model(tmp_path):
    geometry = GEOMETRIES['r1-10b']
    (tmp_path / 'vlm').mkdir()
    (tmp_path / 'config.json').write_text(json.dumps(geometry.config()))
    (tmp_path / 'vlm' / 'config.json').write_text(json.dumps(geometry.backbone_config()))
    config = load_config(tmp_path)
    assert (config.vocab_size, config.traj_vocab_size, config.traj_token_start_idx) == (
        155697, 4000, 151669)
    with torch.device('meta'):
        model = AlpamayoModel(config)
    counts = {name: value.numel() for name, value in model.named_parameters()}
    expert = sum(count for name, count in counts.items() if name.startswith('expert.'))
    text = sum(count for name, count in counts.items()
               if name.startswith('vlm.') and '.visual.' not in name)
    assert round(text / 1e9, 1) == 8.2
    assert round(expert / 1e9, 2) == 2.28
    # 144 KiB of cache a token in 16 bit.
    text = config.text
    assert 2 * 2 * text.num_layers * text.num_kv_heads * text.head_dim == 144 * 1024


def test_a_synthetic_reasoning_never_ends_by_itself(checkpoint, bench):
    settings = PlannerSettings(num_candidates=3, reasoning_mode='multi', max_generation_length=60,
                               temperature=5.0, top_p=1.0, num_inference_steps=1)
    plan = Planner(bench.runtime, settings).plan(bench.observation)
    assert [item.token_count for item in plan.reasoning] == [60] * 3
    assert all(item.truncated for item in plan.reasoning)


def test_the_plans_of_a_synthetic_checkpoint_are_of_a_sane_size(bench):
    plan = bench.planner.plan(bench.observation)
    action = np.stack([candidate.action for candidate in plan.candidates])
    assert 0.1 < action.std() < 10
    assert plan.v0 == pytest.approx(scene.SPEED_MPS, abs=0.1)


def reference_context(bench, groups, lengths):
    """A cache with as many tails, of which only so many entries count."""
    prefilled = bench.prefill()
    cache = prefilled.cache
    ids = bench.runtime.fuse(
        bench.runtime.prompt(bench.camera_ids, 4, bench.grids, None), bench.history_xyz)
    prefilled = bench.runtime.prefill(ids, bench.grids, bench.runtime.encode_images(bench.images),
                                      groups=groups, tail=TOKENS)
    generated = bench.runtime.decode(prefilled, Sampling(), TOKENS,
                                     torch.Generator().manual_seed(0))
    lengths = torch.tensor(lengths)
    assert int(lengths.max()) <= cache.tail_length < generated.tokens.shape[1]
    return ExpertContext(cache, lengths, cache.prompt_length + lengths + prefilled.rope_delta)


@pytest.mark.parametrize('lengths', [[5], [5, 1, 3]])
@pytest.mark.parametrize('causal', [False, True])
def test_the_copied_cache_gives_the_same_velocity(bench, lengths, causal):
    runtime, groups, samples = bench.runtime, len(lengths), 4
    context = reference_context(bench, groups, lengths)
    noise = bench.noise(groups * samples)
    model = runtime.model
    model_config = model.config
    try:
        model.config = replace(model_config, expert_causal=causal)
        expert = type(runtime.expert)(model)
        copied = CopiedCacheExpert(model, context, samples)
    finally:
        model.config = model_config
    for time in (0.0, 0.4, 0.9):
        times = torch.tensor([time, time + 1])
        shared = expert.integrate(noise.unflatten(0, (groups, samples)), times, context,
                                  should_stop=never).flatten(0, 1) - noise
        velocity = copied.velocity(noise, times[0])
        assert velocity.std() > 0.1
        torch.testing.assert_close(velocity, shared, atol=1e-4, rtol=1e-4)
    cache = context.cache
    per_token = 2 * 4 * model_config.text.num_layers * model_config.text.num_kv_heads * (
        model_config.text.head_dim)
    assert copied.num_bytes == groups * samples * per_token * (
        cache.prompt_length + cache.tail_length)


def test_jpegs_are_what_a_camera_would_send():
    images = [decode_compressed(scene.jpeg(scene.picture(index, 1080, 1920)), 'jpeg')
              for index in range(2)]
    assert images[0].shape == (1080, 1920, 3)
    assert np.abs(images[0].astype(int) - images[1]).mean() > 20
    assert 200_000 < len(scene.jpeg(scene.picture(0, 1080, 1920))) < 900_000


def test_actions_take_turns_and_waiting_for_the_device_is_part_of_it():
    order = []
    result = take_turns({'a': lambda: order.append('a'), 'b': lambda: order.append('b')},
                        repeats=3, warm_up=1, synchronise=lambda: order.append('|'))
    assert ''.join(order).replace('|', '') == 'baabbaab'
    assert ''.join(order) == ''.join(f'|{name}|' for name in 'baabbaab')
    assert {name: len(timing.milliseconds) for name, timing in result.items()} == {'a': 3, 'b': 3}
    with pytest.raises(ValueError, match='repeats is 0; expected at least 1'):
        take_turns({}, repeats=0)


def test_statistics():
    timing = Timing.of([4.0, 1.0, 2.0, 3.0, 10.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert (timing.median, timing.p90, timing.largest) == (5.5, 9.0, 10.0)
    assert Timing.of([3.0]).p90 == 3.0
    assert timing.divided(2).median == 2.75
    with pytest.raises(ValueError, match='milliseconds is empty'):
        Timing.of([])


def alpamayo_bench(capsys, *arguments):
    """Exit code, stdout, stderr of the command, run in this process."""
    try:
        code = main(['bench', *map(str, arguments)])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


STAGES = ['decode JPEG', 'preprocess', 'new prompt', 'prompt', 'vision', 'prefill', 'decode',
          'decode, per token', 'expert step', 'expert loop', 'unicycle', 'ranking', 'whole plan',
          'message building', 'publishing']


def test_the_command_measures_every_stage(tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', 'alpamayo_ros.cli.main', 'bench', '--geometry', 'tiny',
         '--sections', 'model', '--candidates', '2', '--tokens', str(TOKENS), '--repeats', '2',
         '--threads', '1', *SMALL_IMAGES, '--keep', tmp_path / 'kept',
         '--json', tmp_path / 'bench.json'], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / 'bench.json').read_text())
    assert list(report['stages']) == STAGES
    for name, timing in report['stages'].items():
        assert 0 < timing['median_ms'] <= timing['p90_ms'] <= timing['max_ms'], name
        assert f'\n{name}  ' in result.stdout
    assert report['stages']['vision']['repeats'] == 2
    assert report['torch_threads'] == 1
    assert report['machine']['cpu'] and report['date'][:2] == '20'
    assert report['versions']['torch'] == torch.__version__
    assert report['model']['resized_to'] == [64, 128] and report['model']['prompt_tokens'] > 24

    modes = report['reasoning']
    assert modes['single']['tokens'] == [TOKENS] and modes['multi']['tokens'] == [TOKENS] * 2
    ratio = modes['multi']['plan']['median_ms'] / modes['single']['plan']['median_ms']
    assert modes['multi_to_single_plan_time'] == pytest.approx(ratio, abs=0.002)
    assert f'{TOKENS} tokens' in result.stdout

    rows = report['cache']
    assert [row['candidates'] for row in rows] == [1, 2, 8]
    assert len({row['shared_cache_bytes'] for row in rows}) == 1
    copies = [row['copied_cache_bytes'] for row in rows]
    assert copies == [copies[0], 2 * copies[0], 8 * copies[0]]
    assert all(row['largest_velocity_difference'] < 1e-4 for row in rows)
    assert load_config(tmp_path / 'kept').model_type == 'alpamayo1_5'


@pytest.mark.parametrize('arguments, message', [
    (['--dtype', 'float8'], "dtype is 'float8'"),
    (['--geometry', 'tiny', '--device', 'tpu'], "device is 'tpu'"),
    (['--repeats', '0'], "'0' is no count"),
    (['--image-size', '1080'], "'1080' is no size"),
    (['--geometry', 'huge'], "invalid choice: 'huge'"),
    (['--keep', '.'], "'.' exists already"),
    (['--geometry', 'tiny', '--checkpoint', 'x'], 'not allowed with')])
def test_wrong_use_is_2_with_a_message(arguments, message, capsys):
    code, _, errors = alpamayo_bench(capsys, *arguments)
    assert code == 2 and message in errors


def test_a_missing_checkpoint_is_named(capsys):
    code, _, errors = alpamayo_bench(capsys, '--checkpoint', 'no/such', '--sections', 'model')
    assert code == 1 and "checkpoint 'no/such' is no directory" in errors


def test_without_ros_the_rest_is_measured(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, 'alpamayo_ros.drive.node_share', None)
    report = Report({}, 'x')
    measure_model(bench.options, report, say=lambda text: None, released=False)
    measure_node(report, 1.0, 1, (72, 128), say=lambda text: None)
    assert list(report.stages()) == STAGES[:-2] and report.node is None
    assert [note[:23] for note in report.notes] == [
        'Messages and publishing', "The node's share was no"]


def test_a_node_that_fails_keeps_what_was_measured(monkeypatch, capsys, tmp_path):
    def failing(*unused):
        raise NodeError('the node ended by itself')

    monkeypatch.setattr('alpamayo_ros.bench.run.node_section', failing)
    code, output, _ = alpamayo_bench(capsys, '--sections', 'node', '--json', tmp_path / 'x.json')
    assert code == 1 and 'could not be measured: the node ended by itself' in output
    assert 'the node ended' in json.loads((tmp_path / 'x.json').read_text())['notes'][0]


def test_a_table_says_what_was_lost_and_missed():
    def section(received, share):
        timing = Timing.of([10.0])
        return NodeSection(
            Timing.of(share), timing, {'align': timing}, {'front_wide': 20}, {
                'front_wide': received}, {'front_wide': 18}, (1080, 1920), 0, 1.0, 2, 1.2, 2.0)

    head = {'date': 'now', 'machine': {
        'cpu': 'x', 'cores': 2, 'memory_gib': 1, 'gpu': None, 'load_average_before': 0},
        'versions': {'torch': '2'}, 'torch_threads': 1}
    good, bad = (Report(head, 'x', node=section(*values)) for values in (
        (20, [149.0] * 9 + [900.0]), (19, [149.0] * 8 + [151.0] * 2)))
    assert 'kept' in good.table() and '20 sent, 20 arrived (all)' in good.table()
    assert 'MISSED' in bad.table() and '20 sent, 19 arrived, 1 LOST' in bad.table()
    assert good.as_dict()['node']['within_goal'] and not bad.as_dict()['node']['within_goal']
    assert good.as_dict()['node']['all_frames_arrived']
    assert not bad.as_dict()['node']['all_frames_arrived']


def test_the_share_of_a_plan_is_what_the_model_does_not_take():
    second, ms = 1_000_000_000, 1_000_000
    sent = {'a': Sent([0, second, 2 * second], [0, second + 5 * ms, 2 * second + 5 * ms]),
            'b': Sent([0, second, second + 80 * ms, 2 * second + 80 * ms],
                      [0, second, second + 81 * ms, 2 * second + 81 * ms])}

    def info(t0, **stages):
        return {'t0': t0, **{f'ms.{name}': str(value) for name, value in stages.items()},
                'ms.input.queue': '2', 'ms.total': '999'}

    infos = [
        (500 * ms, info('0.000000000', vision=100)),
        # Complete 5 ms after 1 s; nothing to wait for.
        (second + 135 * ms, info('1.000000000', vision=60, expert=40, align=7, paths=3)),
        # Complete 81 ms after 2 s, but the plan before ends 300 ms after.
        (2 * second + 300 * ms, info('1.000000000', vision=60)),
        (2 * second + 450 * ms, info('2.000000000', vision=60, place=1))]
    shares = plan_shares(infos, sent)
    assert [share.waited for share in shares] == [False, True, True]
    assert [round(share.whole, 3) for share in shares] == [130.0, 1165.0, 150.0]
    assert [round(share.share, 3) for share in shares] == [30.0, 1105.0, 90.0]
    assert shares[0].parts == {'align': 7.0, 'paths': 3.0, 'input.queue': 2.0}
