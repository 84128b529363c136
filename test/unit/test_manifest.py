"""Manifests: what they hold, what they refuse, and files that are there whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from alpamayo_ros.errors import EngineError
from alpamayo_ros.model.expert.files import written_together
from alpamayo_ros.model.expert.graph import GraphSpec
from alpamayo_ros.model.expert.manifest import (
    Manifest,
    Wanted,
    command,
    require,
    unchanged,
)

SPEC = GraphSpec(precision='float16', groups=1, samples=32, waypoints=64, max_prefix=6144, tail=256,
                 layers=36, kv_heads=8, head_dim=128)
MANIFEST = Manifest(
    expert_fingerprint='0123456789abcdef', spec=SPEC, files={'expert.engine': 3},
    built='2026-01-02T03:04:05+00:00', versions={'torch': '2'}, flavour='tensorrt',
    tensorrt='10.13.3', gpu='NVIDIA Thor, sm_110')
WANTED = Wanted('0123456789abcdef', SPEC, 'tensorrt', '10.13.3', 'NVIDIA Thor, sm_110')


def written(folder: Path, manifest: Manifest = MANIFEST) -> Path:
    (folder / 'expert.engine').write_bytes(b'abc')
    manifest.write(folder / 'engine.json')
    return folder / 'engine.json'


def test_it_is_read_as_it_was_written(tmp_path):
    path = written(tmp_path)
    assert Manifest.read(path) == MANIFEST
    data = json.loads(path.read_text())
    assert data['spec']['samples'] == 32
    assert data['ports']['inputs'][0] == 'noisy (1, 32, 64, 2) float32'
    assert len(data['ports']['inputs']) == 4 + 4 * 36


@pytest.mark.parametrize('damage, words', [
    (lambda path: path.unlink(), 'does not exist'),
    (lambda path: path.write_text(path.read_text()[:90]), 'no readable manifest'),
    (lambda path: path.write_text('[]'), 'no readable manifest'),
    (lambda path: path.write_text('{}'), 'no readable manifest'),
    (lambda path: path.write_text(path.read_text().replace('"tail"', '"tale"')), 'tale'),
    (lambda path: path.write_text(path.read_text().replace('"flavour"', '"taste"')), 'taste'),
    (lambda path: (path.parent / 'expert.engine').unlink(),
     r'expert\.engine does not exist; expected 3 bytes'),
    (lambda path: (path.parent / 'expert.engine').write_bytes(b'ab'),
     'has 2 bytes; expected 3 bytes')])
def test_a_damaged_one_is_refused(tmp_path, damage, words):
    path = written(tmp_path)
    assert unchanged(path, WANTED) == MANIFEST
    damage(path)
    with pytest.raises(EngineError, match=words):
        Manifest.read(path)
    assert unchanged(path, WANTED) is None


@pytest.mark.parametrize('changes, sentence', [
    ({'expert_fingerprint': 'ffff'}, 'the expert it was made from is 0123456789abcdef; expected '
     'ffff'),
    ({'flavour': 'tensorrt-rtx'}, 'the TensorRT flavour is tensorrt; expected tensorrt-rtx'),
    ({'tensorrt': '10.14.0'}, 'the TensorRT version is 10.13.3; expected 10.14.0'),
    ({'gpu': 'NVIDIA H200, sm_90'}, 'the GPU is NVIDIA Thor, sm_110; expected NVIDIA H200, sm_90'),
    ({'samples': 16}, 'the number of candidates is 32; expected 16'),
    ({'precision': 'bfloat16'}, 'the precision is float16; expected bfloat16'),
    ({'waypoints': 50}, 'the number of waypoints is 64; expected 50'),
    ({'layers': 28}, 'the number of layers is 36; expected 28'),
    ({'kv_heads': 4}, 'the number of KV heads is 8; expected 4'),
    ({'head_dim': 64}, 'the size of a head is 128; expected 64'),
    ({'max_prefix': 6145}, 'the longest prompt, in tokens, is 6144; expected at least 6145'),
    ({'tail': 257}, 'the longest reasoning, in tokens, is 256; expected at least 257')])
def test_each_difference_is_told_with_both_values(tmp_path, changes, sentence):
    of_spec = {key: value for key, value in changes.items()
               if key in {field.name for field in dataclasses.fields(GraphSpec)}}
    rest = {key: value for key, value in changes.items() if key not in of_spec}
    wanted = dataclasses.replace(WANTED, spec=dataclasses.replace(SPEC, **of_spec), **rest)
    assert wanted.differences(MANIFEST) == [sentence]
    with pytest.raises(EngineError) as refusal:
        require(written(tmp_path), wanted, 'alpamayo build-engine there')
    assert sentence in str(refusal.value)
    assert 'alpamayo build-engine there' in str(refusal.value)


def test_one_candidate_each_is_another_mode():
    multi = dataclasses.replace(SPEC, groups=32, samples=1)
    assert dataclasses.replace(WANTED, spec=multi).differences(MANIFEST) == [
        'the reasoning mode is single; expected multi']


def test_longer_than_needed_fits_but_is_not_the_same():
    wanted = dataclasses.replace(WANTED, spec=dataclasses.replace(SPEC, max_prefix=4500, tail=64))
    assert wanted.differences(MANIFEST) == []
    assert dataclasses.replace(wanted, exact=True).differences(MANIFEST) == [
        'the longest prompt, in tokens, is 6144; expected 4500',
        'the longest reasoning, in tokens, is 256; expected 64']


def test_an_older_export_is_refused():
    assert WANTED.differences(dataclasses.replace(MANIFEST, export_version=0)) == [
        'the export version is 0; expected 1']


def test_the_command_makes_what_is_wanted_and_can_be_pasted():
    line = command('build-engine', Path('a b'), Path("it's"), SPEC, flavour='tensorrt')
    assert shlex.split(line) == [
        'alpamayo', 'build-engine', 'a b', '--candidates', '32', '--mode', 'single',
        '--max-prefix', '6144', '--max-tail', '256', '--precision', 'float16', '--flavour',
        'tensorrt', '--output', "it's"]


def test_files_come_together_and_the_manifest_last(tmp_path, monkeypatch):
    order = []
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda source, target: (
        order.append((Path(target).name, (tmp_path / 'manifest').exists())),
        replace(source, target)))
    (tmp_path / 'manifest').write_text('old')
    with written_together(tmp_path, last='manifest') as folder:
        for name in ('manifest', 'a', 'z'):
            (folder / name).write_text('new')
        assert (tmp_path / 'manifest').read_text() == 'old'
    assert order == [('a', False), ('z', False), ('manifest', False)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'manifest', 'z']
    assert {path.read_text() for path in tmp_path.iterdir()} == {'new'}


def test_a_failure_changes_nothing(tmp_path):
    (tmp_path / 'manifest').write_text('old')
    with pytest.raises(KeyboardInterrupt), written_together(tmp_path, last='manifest') as folder:
        (folder / 'a').write_text('half')
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ['manifest']


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(tmp_path):
    killed = subprocess.run([sys.executable, '-c', 'import os; print(os.getpid())'],
                            capture_output=True, text=True, check=True).stdout.strip()
    for owner in (killed, os.getppid()):
        (tmp_path / f'.partial-{owner}').mkdir()
        (tmp_path / f'.partial-{owner}' / 'half').write_text('x')
    with written_together(tmp_path, last='manifest') as folder:
        (folder / 'manifest').write_text('new')
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f'.partial-{os.getppid()}', 'manifest']
