"""Real engines, built on whatever machine this is; running them takes a GPU."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from exported import MAX_PREFIX, TAIL, any_flavour, built, copied, exported, spec_for
from golden_data import R1, V1_5

from alpamayo_ros.cli import build_engine as cli
from alpamayo_ros.cli.main import main
from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.expert import build, trt
from alpamayo_ros.model.expert.build import EngineBuilder, build_engine
from alpamayo_ros.model.expert.manifest import EXPORT_VERSION, NO_GPU, Manifest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = load_config(R1)


@pytest.mark.parametrize('checkpoint, precision, groups, samples', [
    (R1, 'float16', 1, 4), (V1_5, 'float16', 3, 2)])
def test_an_engine_of_each_golden_checkpoint(checkpoint, precision, groups, samples):
    folder = built(checkpoint, precision, groups, samples)
    manifest = Manifest.read(folder / 'engine.json')
    flavour = any_flavour()
    assert manifest.spec == spec_for(load_config(checkpoint), precision, groups, samples)
    assert (manifest.flavour, manifest.tensorrt) == (flavour.name, flavour.version)
    assert manifest.gpu == trt.gpu_name()
    assert manifest.export_version == EXPORT_VERSION
    assert manifest.expert_fingerprint == Manifest.read(
        folder / 'export.json').expert_fingerprint
    # An engine holds its weights: 100,000 in two bytes each, and code.
    assert (folder / 'expert.engine').stat().st_size > 200_000
    assert not list(folder.glob('.partial*'))


def test_an_engine_of_nano(tmp_path):
    config = load_config(ROOT / 'resource' / 'nano')
    manifest = build_engine(config, spec_for(config, samples=32, max_prefix=6144, tail=256),
                            tmp_path / 'engine', flavour=any_flavour(), report=lambda _: None)
    assert (manifest.spec.samples, manifest.spec.max_prefix) == (32, 6144)
    assert (tmp_path / 'engine' / 'expert.engine').stat().st_size == manifest.files[
        'expert.engine']


@pytest.mark.parametrize('precision, kind', [('float16', 'HALF'), ('float32', 'FLOAT')])
def test_the_network_is_typed_as_the_graph(precision, kind):
    spec = spec_for(CONFIG, precision)
    builder = EngineBuilder(any_flavour(), spec)
    network = builder.parse(exported(R1, precision) / 'expert.onnx')
    found = {network.get_input(index).name: network.get_input(index)
             for index in range(network.num_inputs)}
    assert list(found) == [port.name for port in spec.inputs()]
    assert tuple(found['prompt_v_3'].shape) == (2, -1, 16)
    assert found['prompt_v_3'].dtype.name == kind
    assert tuple(found['tail_k_0'].shape) == (1, 2, TAIL, 16)
    assert (tuple(found['time'].shape), found['time'].dtype.name) == ((), 'FLOAT')
    assert found['tail_length'].dtype.name == 'INT64'
    assert network.num_outputs == 1
    output = network.get_output(0)
    assert (output.name, tuple(output.shape), output.dtype.name) == (
        'velocity', (1, 4, 64, 2), 'FLOAT')
    assert network.get_flag(any_flavour().trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_other_ports_than_expected_are_refused():
    builder = EngineBuilder(any_flavour(), spec_for(CONFIG, tail=TAIL + 1))
    with pytest.raises(EngineError, match=rf'has tail_k_0 \(1, 2, {TAIL}, 16\) float16.*'
                                          rf'expected tail_k_0 \(1, 2, {TAIL + 1}, 16\)'):
        builder.parse(exported(R1, 'float16') / 'expert.onnx')


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / 'expert.onnx').write_bytes(b'nonsense')
    with pytest.raises(EngineError, match=r'cannot read expert\.onnx: .+'):
        EngineBuilder(any_flavour(), spec_for(CONFIG)).parse(tmp_path / 'expert.onnx')


def test_a_build_that_tensorrt_gives_up_says_why(tmp_path):
    folder = copied(exported(R1, 'float16'))
    with pytest.raises(EngineError, match='could not build the engine: .{20,}'):
        build_engine(CONFIG, spec_for(CONFIG), folder, flavour=any_flavour(),
                     report=lambda _: None, workspace_bytes=0)
    assert sorted(path.name for path in folder.iterdir()) == ['expert.onnx', 'export.json']


def test_progress_is_told_and_the_second_time_there_is_none():
    folder = copied(exported(R1, 'float16'))
    seen, said = [], []
    options = {'flavour': any_flavour(), 'report': said.append, 'progress': seen.append}
    first = build_engine(CONFIG, spec_for(CONFIG), folder, **options)
    assert len(seen) > 20
    assert seen[0].startswith('Building engine 0/')
    count = len(seen)
    stamp = (folder / 'expert.engine').stat().st_mtime_ns
    (folder / 'expert.onnx').unlink()  # an engine does not need it any more
    assert build_engine(CONFIG, spec_for(CONFIG), folder, **options) == first
    assert said[-1] == f'{folder / "expert.engine"} is up to date: nothing to do'
    assert len(seen) == count
    assert (folder / 'expert.engine').stat().st_mtime_ns == stamp


@pytest.mark.parametrize('key, value', [
    ('tensorrt', '1.0.0'), ('gpu', 'NVIDIA Thor, sm_110'), ('expert_fingerprint', 'ffff')])
def test_an_engine_that_does_not_fit_is_built_anew(monkeypatch, key, value):
    folder = copied(built(R1, 'float16'))
    path = folder / 'engine.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    monkeypatch.setattr(EngineBuilder, 'build', lambda self, path, **_: b'new')
    build_engine(CONFIG, spec_for(CONFIG), folder, flavour=any_flavour(), report=lambda _: None)
    assert (folder / 'expert.engine').read_bytes() == b'new'
    assert getattr(Manifest.read(path), key) != value


@pytest.mark.parametrize('signum, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_it_and_leaves_no_half(signum, status):
    any_flavour()
    folder = copied(exported(R1, 'float16'))
    arguments = [sys.executable, '-m', 'alpamayo_ros.cli.main', 'build-engine', str(R1),
                 '--candidates', '4', '--max-prefix', str(MAX_PREFIX), '--max-tail', str(TAIL),
                 '--output', str(folder)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment) as process:
        lines = iter(process.stdout.readline, '')
        assert any(line.strip() == 'Building engine' for line in lines)
        process.send_signal(signum)
        _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert 'Traceback' not in error
    assert sorted(path.name for path in folder.iterdir()) == ['expert.onnx', 'export.json']


def test_no_tensorrt_is_told_with_where_it_comes_from(monkeypatch):
    monkeypatch.setattr(trt, 'installed', lambda name: None)
    with pytest.raises(EngineError, match=r'cannot be imported.*JetPack.*requirements/engine\.txt'):
        trt.find()
    with pytest.raises(EngineError, match='TensorRT cannot be imported here; expected tensorrt '):
        trt.find('tensorrt')
    with pytest.raises(EngineError, match="flavour is 'x'; expected one of auto, tensorrt, "):
        trt.find('x')


def test_which_flavour_is_taken(monkeypatch):
    there = {name: trt.Flavour(name, types.SimpleNamespace(__version__='9'))
             for name in trt.FLAVOURS}
    monkeypatch.setattr(trt, 'installed', there.get)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert trt.find().name == 'tensorrt'
    assert trt.find(to_build=True).name == 'tensorrt-rtx'
    with pytest.raises(EngineError, match='tensorrt 9 builds on the GPU that runs the engine'):
        trt.find('tensorrt', to_build=True)
    assert trt.gpu_name() == NO_GPU
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert trt.find(to_build=True).name == 'tensorrt'
    assert trt.find('tensorrt-rtx', to_build=True).name == 'tensorrt-rtx'


def test_the_command(monkeypatch, capsys, tmp_path):
    seen = {}

    def record(config, spec, output, *, flavour, report, progress, workspace_bytes):
        seen.update(spec=spec, output=output, flavour=flavour, workspace=workspace_bytes)
        progress('Building engine 0/6')
        report('done')
    monkeypatch.setattr(build, 'build_engine', record)
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    flavour = any_flavour()
    assert main(['build-engine', str(R1), '--workspace-mib', '64', '--flavour', flavour.name,
                 '--output', str(tmp_path)]) == 0
    assert (seen['spec'].samples, seen['spec'].precision) == (32, 'float16')
    assert (seen['workspace'], seen['output']) == (64 << 20, tmp_path)
    assert seen['flavour'].name == flavour.name
    told = capsys.readouterr().out
    assert told.startswith('  Building engine\ndone\ninputs:\n  noisy (1, 32, 64, 2) float32\n')


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line():
    stream = Terminal()
    line = cli.ProgressLine(stream, period_s=0)
    line('Building engine 0/6, Cloning network graph 7/878')
    line('Building engine 1/6')
    line.clear()
    assert '\n' not in stream.getvalue()
    shown = stream.getvalue().split('\r')[1:]
    assert shown[0] == 'Building engine 0/6, Cloning network graph 7/878'
    assert shown[1] == 'Building engine 1/6'.ljust(len(shown[0]))
    assert set(shown[2]) == {' '}


def test_progress_in_a_file_names_each_phase_once():
    stream = io.StringIO()
    line = cli.ProgressLine(stream)
    for text in ('Building engine 0/6', 'Building engine 0/6, Optimizing graph 1/30',
                 'Building engine 0/6, Optimizing graph 2/30'):
        line(text)
    line.clear()
    assert stream.getvalue() == '  Building engine\n  Optimizing graph\n'
