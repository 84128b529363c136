"""The node under six cameras, as ``alpamayo bench`` measures it."""

from __future__ import annotations

import json
import subprocess
import sys

from patience import once_it_keeps_up

from alpamayo_ros.cameras import SIX_CAMERA_RIG


def test_every_frame_arrives_and_every_plan_is_accounted_for(tmp_path):
    path = tmp_path / 'bench.json'

    def bench(seconds):
        result = subprocess.run(
            [sys.executable, '-m', 'alpamayo_ros.cli.main', 'bench', '--sections', 'node',
             '--image-size', '180x320', '--node-seconds', str(seconds), '--node-cores', '1',
             '--json', path], capture_output=True, text=True)
        behind = 'plans came, expected two at least' in result.stdout + result.stderr
        return behind, (seconds, result)

    seconds, result = once_it_keeps_up(bench, 4, 15)
    assert result.returncode == 0, result.stdout + result.stderr
    node = json.loads(path.read_text())['node']
    assert node['frames_sent'] == dict.fromkeys(SIX_CAMERA_RIG, 10 * seconds)
    assert node['frames_received'] == node['frames_sent']
    assert node['all_frames_arrived'] is True
    assert f'frames: {60 * seconds} sent, {60 * seconds} arrived (all)' in result.stdout
    assert node['plans'] >= 1 and node['cores'] == 1
    assert 0 < node['cores_used'] < 1.2
    assert {'align', 'place', 'paths', 'markers', 'input.queue', 'input.prepare'} == set(
        node['parts'])
    # The share contains what the node itself says it spent on a plan when the model was done.
    for name in ('place', 'paths', 'markers'):
        assert node['share']['max_ms'] > node['parts'][name]['median_ms'] > 0
    assert "the node's share" in result.stdout
