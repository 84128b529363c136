"""The exported graph: what goes in and out, what stays in float32, and that files are whole."""

from __future__ import annotations

import hashlib
import json
import sys

import onnx
import pytest
from exported import copied, exported, spec_for
from golden_data import R1

from alpamayo_ros.cli.main import main
from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.expert import export
from alpamayo_ros.model.expert.export import check, export_checkpoint
from alpamayo_ros.model.expert.graph import GraphSpec
from alpamayo_ros.model.expert.manifest import Manifest

CONFIG = load_config(R1)
HALF = 'float16'


def types(path):
    """Nodes of a graph with the types of what goes in and out, by shape inference."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True)
    graph = model.graph
    known = {value.name: value.type.tensor_type.elem_type
             for value in (*graph.input, *graph.output, *graph.value_info)}
    known |= {weight.name: weight.data_type for weight in graph.initializer}
    names = onnx.TensorProto.DataType.Name
    return [(node.op_type, [names(known[name]) for name in node.input if name],
             [names(known[name]) for name in node.output]) for node in graph.node]


def test_inputs_and_outputs_are_those_documented():
    graph = onnx.load(exported(R1, HALF) / 'expert.onnx').graph
    assert [port.name for port in graph.input][:6] == [
        'noisy', 'time', 'position', 'tail_length', 'prompt_k_0', 'prompt_v_0']
    found = {str(port) for port in (*export.ports(graph.input), *export.ports(graph.output))}
    assert found == {
        'noisy (1, 4, 64, 2) float32', 'time () float32', 'position (1) int64',
        'tail_length (1) int64', 'velocity (1, 4, 64, 2) float32',
        *(f'prompt_{part}_{layer} (2, prefix, 16) float16' for part in 'kv' for layer in range(4)),
        *(f'tail_{part}_{layer} (1, 2, 16, 16) float16' for part in 'kv' for layer in range(4))}


def test_half_precision_leaves_in_float32_what_needs_it():
    nodes = types(exported(R1, HALF) / 'expert.onnx')
    by_type = {}
    for name, inputs, _ in nodes:
        by_type.setdefault(name, []).extend(inputs[:1])
    for name in ('Sin', 'Cos', 'Exp', 'ReduceSum', 'ReduceMean', 'Sqrt', 'LayerNormalization'):
        assert set(by_type[name]) == {'FLOAT'}, name
    products = [inputs for name, inputs, _ in nodes if name in ('MatMul', 'Gemm')]
    # Seven weights a layer and the output; keys and values of three parts; the input projection.
    assert sum('FLOAT16' in inputs for inputs in products) == 4 * (7 + 6) + 1
    assert sum('FLOAT' in inputs for inputs in products) == 4
    assert not [inputs for inputs in products if len(set(inputs)) > 1]


def test_single_precision_has_no_half_in_it():
    found = {kind for _, inputs, outputs in types(exported(R1, 'float32') / 'expert.onnx')
             for kind in (*inputs, *outputs)}
    assert 'FLOAT16' not in found
    assert 'FLOAT' in found


def test_weights_beside_the_graph_and_the_same_bytes_again(tmp_path):
    """One more export with its weights outside, one with them inside again."""
    spec = spec_for(CONFIG)
    manifest = export_checkpoint(CONFIG, spec, tmp_path, report=lambda _: None, external_above=0)
    assert set(manifest.files) == {'expert.onnx', 'expert.onnx.data'}
    outside = onnx.load(tmp_path / 'expert.onnx', load_external_data=False)
    large = [weight for weight in outside.graph.initializer if weight.external_data]
    assert len(large) > 20
    assert (tmp_path / 'expert.onnx').stat().st_size < (
        exported(R1, HALF) / 'expert.onnx').stat().st_size
    check(tmp_path / 'expert.onnx', spec)

    (tmp_path / 'export.json').unlink()
    export_checkpoint(CONFIG, spec, tmp_path, report=lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['expert.onnx', 'export.json']
    digests = {hashlib.sha256((folder / 'expert.onnx').read_bytes()).hexdigest()
               for folder in (tmp_path, exported(R1, HALF))}
    assert len(digests) == 1


def test_nothing_of_the_machine_is_in_the_files():
    folder = exported(R1, HALF)
    content = b''.join(path.read_bytes() for path in folder.iterdir())
    assert str(R1.parents[2]).encode() not in content
    assert b'.py' not in content


def test_an_export_that_is_there_is_left_alone(monkeypatch):
    folder = exported(R1, HALF)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(export, 'load_model', None)  # would be called for an export
    said = []
    export_checkpoint(CONFIG, spec_for(CONFIG), folder, report=said.append)
    assert said == [f'{folder / "expert.onnx"} is up to date: nothing to do']
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize('change', ['spec', 'file', 'manifest', 'fingerprint', 'version'])
def test_whatever_differs_is_exported_anew(change, monkeypatch):
    folder, spec = copied(exported(R1, HALF)), spec_for(CONFIG)
    path = folder / 'export.json'
    if change == 'spec':
        spec = spec_for(CONFIG, tail=17)
    elif change == 'file':
        with (folder / 'expert.onnx').open('ab') as file:
            file.write(b'x')
    elif change == 'manifest':
        path.write_text(path.read_text()[:100])
    else:
        data = json.loads(path.read_text())
        key = 'expert_fingerprint' if change == 'fingerprint' else 'export_version'
        data[key] = '0' * 16 if change == 'fingerprint' else 0
        path.write_text(json.dumps(data))
    monkeypatch.setattr(export, 'export_model',
                        lambda model, spec, path, external_above: path.write_bytes(b'new'))
    monkeypatch.setattr(export, 'check', lambda path, spec: None)
    export_checkpoint(CONFIG, spec, folder, report=lambda _: None)
    assert (folder / 'expert.onnx').read_bytes() == b'new'
    assert Manifest.read(path).spec == spec


@pytest.mark.parametrize('error', [KeyboardInterrupt(), EngineError('no'), MemoryError()])
def test_an_export_that_fails_leaves_all_as_it_was(monkeypatch, error):
    folder = copied(exported(R1, HALF))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(model, spec, path, external_above):
        path.write_bytes(b'half')
        raise error
    monkeypatch.setattr(export, 'export_model', fail)
    with pytest.raises(type(error)):
        export_checkpoint(CONFIG, spec_for(CONFIG, tail=9), folder, report=lambda _: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_graph_with_other_ports_is_refused():
    with pytest.raises(EngineError, match=r'tail_k_0 \(1, 2, 16, 16\) float16; expected '
                                          r'tail_k_0 \(1, 2, 17, 16\) float16'):
        check(exported(R1, HALF) / 'expert.onnx', spec_for(CONFIG, tail=17))


def test_a_malformed_graph_is_refused(tmp_path):
    model = onnx.load(exported(R1, HALF) / 'expert.onnx')
    del model.graph.node[3]
    onnx.save(model, tmp_path / 'broken.onnx')
    with pytest.raises(EngineError, match='malformed'):
        check(tmp_path / 'broken.onnx', spec_for(CONFIG))


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(EngineError, match=r'onnxscript cannot be imported.*requirements/engine'):
        export_checkpoint(CONFIG, spec_for(CONFIG), tmp_path, report=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('changes, words', [
    ({'precision': 'int8'}, r"precision is 'int8'; expected one of"),
    ({'groups': 0}, 'groups is 0; expected at least 1'),
    ({'max_prefix': 0}, 'max_prefix is 0'), ({'tail': -1}, 'tail is -1')])
def test_a_spec_of_no_use_is_refused(changes, words):
    good = {'precision': HALF, 'groups': 1, 'samples': 4, 'max_prefix': 8, 'tail': 8}
    assert GraphSpec.of(CONFIG, **good).candidates == 4
    with pytest.raises(ValueError, match=words):
        GraphSpec.of(CONFIG, **{**good, **changes})


def test_the_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(export, 'export_checkpoint',
                        lambda config, spec, output, report: seen.append((spec, str(output))))
    assert main(['export', str(R1), '--mode', 'multi', '--candidates', '6', '--max-tail', '40',
                 '--precision', 'float32']) == 0
    spec, output = seen[0]
    assert (spec.groups, spec.samples, spec.tail, spec.max_prefix) == (6, 1, 40, 6144)
    assert (spec.precision, output) == ('float32', 'engines/r1')
    told = capsys.readouterr().out
    assert 'prompt_k_0 to prompt_k_3 (2, prefix, 16) float32' in told
    assert 'velocity (6, 1, 64, 2) float32' in told
    assert main(['export', str(tmp_path / 'nothing')]) == 1
    assert 'nothing' in capsys.readouterr().err
