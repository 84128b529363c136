"""Tests that need ROS or TensorRT skip themselves elsewhere; what checks a change may not do so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

NEEDED = ['rclpy', 'rosbags', 'onnx', 'onnxruntime', 'selenium']
if platform.machine() == 'x86_64':
    NEEDED.append('tensorrt_rtx_bindings')


@pytest.mark.skipif('CI' not in os.environ, reason='not continuous integration: CI is not set')
@pytest.mark.parametrize('name', NEEDED)
def test_continuous_integration_has(name):
    # A process of its own: these libraries change the one they are loaded into.
    found = subprocess.run([sys.executable, '-c', f'import {name}'], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
