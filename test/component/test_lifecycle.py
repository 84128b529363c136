"""Every transition, through the services, repeatedly; and failures that can be put right."""

from __future__ import annotations

import pytest
from harness import CHECKPOINT, values_of
from rig import Rig


@pytest.fixture
def rig():
    """A rig that is publishing."""
    rig = Rig()
    rig.start()
    yield rig
    rig.stop()


def test_every_transition_works_and_works_again(start, watcher, rig):
    process = start({'autostart': False})
    assert watcher.state() == 'unconfigured'
    for activations in (2, 1):
        assert watcher.change('configure'), process.output()
        assert watcher.state() == 'inactive'
        for _ in range(activations):
            assert watcher.change('activate'), process.output()
            assert watcher.state() == 'active'
            watcher.wait_for_plan()
            assert watcher.change('deactivate')
            assert watcher.state() == 'inactive'
            watcher.wait_for_status('model', 'OK', 'inactive, model unloaded')
            watcher.wait_for_silence()
        assert watcher.change('cleanup')
        assert watcher.state() == 'unconfigured'
        watcher.wait_for_status('model', 'OK', 'unconfigured')
    assert process.stop() == 0


def test_wrong_transitions_are_refused_and_the_node_goes_on_until_shutdown(start, watcher):
    process = start({'autostart': False})
    assert not watcher.change('activate')
    assert not watcher.change('deactivate')
    assert not watcher.change('cleanup')
    assert watcher.state() == 'unconfigured'
    assert 'refused' in process.output()
    assert watcher.change('configure')
    assert not watcher.change('configure')
    assert watcher.state() == 'inactive'
    assert watcher.change('shutdown_inactive')
    assert watcher.state() == 'finalized'
    assert not watcher.change('configure')
    assert process.stop() == 0


def test_the_node_answers_while_a_model_is_loading(start, watcher):
    process = start({'num_inference_steps': 60})
    watcher.wait_for_status('model', 'OK', 'warming up')
    assert watcher.state() == 'configuring'
    assert not watcher.change('configure')
    assert 'another one is in progress' in process.output()
    watcher.wait_for_status('model', 'OK', '^active')
    assert watcher.state() == 'active'


def test_shutdown_when_unconfigured(start, watcher):
    process = start({'autostart': False})
    assert watcher.change('shutdown_unconfigured')
    assert watcher.state() == 'finalized'
    assert not watcher.change('configure')
    watcher.wait_for_status('model', 'OK', 'finalized')
    assert process.stop() == 0


def test_shutdown_when_active(start, watcher, rig):
    process = start()
    watcher.wait_for_plan()
    assert watcher.change('shutdown_active')
    assert watcher.state() == 'finalized'
    watcher.wait_for_status('model', 'OK', 'finalized')
    watcher.wait_for_silence()
    assert process.stop() == 0


def test_a_missing_checkpoint_is_said_and_can_be_put_right(start, watcher, rig, tmp_path):
    nowhere = tmp_path / 'nowhere'
    process = start({'checkpoint': str(nowhere)})
    watcher.wait_for_status('model', 'ERROR', f'configure failed: .*{nowhere}')
    assert watcher.state() == 'unconfigured'
    assert 'configure failed' in process.output()
    assert not watcher.change('configure')
    assert watcher.state() == 'unconfigured'
    assert watcher.set(checkpoint=str(CHECKPOINT)) == []
    assert watcher.change('configure'), process.output()
    assert watcher.change('activate')
    watcher.wait_for_plan()


@pytest.mark.parametrize(('changes', 'text'), [
    ({'checkpoint': ''}, "parameter 'checkpoint' is ''; expected the directory"),
    ({'temperature': -1.0}, r"parameter 'temperature' is -1\.0; expected double, 0\.01 to 10\.0"),
    ({'plan_period_s': 1}, "parameter 'plan_period_s' is 1; expected double, 0.1 to 60.0"),
    ({'cameras': ['front_wide', 'periscope']},
     "parameter 'cameras' is .*periscope.*expected list of strings of cross_left"),
    ({'expert.backend': 'abacus'}, "parameter 'expert.backend' is 'abacus'; expected .*torch"),
    ({'device': 'quantum'}, "parameter 'device' is 'quantum'; expected cpu, cuda or cuda:N"),
    ({'min_pixels': 9216, 'max_pixels': 4096}, 'max_pixels is 4096; expected at least min_pixels'),
], ids=['checkpoint', 'range', 'type', 'choice', 'backend', 'device', 'combination'])
def test_unusable_parameters_are_refused_before_anything_is_loaded(start, watcher, changes, text):
    process = start(changes)
    watcher.wait_for_status('model', 'ERROR', f'configure failed: .*{text}')
    assert watcher.state() == 'unconfigured'
    assert 'loading' not in process.output()
    assert process.stop() == 0


def test_a_refused_parameter_can_be_set_right_but_not_while_configured(start, watcher, rig):
    process = start({'top_p': 1.5})
    watcher.wait_for_status('model', 'ERROR', 'top_p')
    refusals = watcher.set(top_p=2.0)
    assert len(refusals) == 1
    assert 'top_p' in refusals[0]
    assert '2.0' in refusals[0]
    assert watcher.set(top_p=0.9) == []
    assert watcher.change('configure'), process.output()
    refusals = watcher.set(top_p=0.8)
    assert refusals == ["parameter 'top_p' can be set only while the node is unconfigured; "
                        'clean up first']
    assert len(watcher.set(autostart=False)) == 1  # read-only
    assert watcher.change('activate')
    watcher.wait_for_plan()


def test_a_parameter_that_does_not_exist_is_a_warning(start, watcher):
    process = start({'autostart': False, 'plan_perod_s': 0.2})
    watcher.wait_for_status(
        'model', 'WARN', "'plan_perod_s' is not one of this node.*did you mean 'plan_period_s'")
    assert process.stop() == 0


def test_a_checkpoint_that_changed_under_an_inactive_node_is_not_planned_with(
        start, watcher, tmp_path):
    import shutil
    copy = tmp_path / 'golden'
    for part in ('alpamayo1_5', 'vlm'):
        shutil.copytree(CHECKPOINT.parent / part, copy / part)
    process = start({'checkpoint': str(copy / 'alpamayo1_5'), 'autostart': False})
    assert watcher.change('configure'), process.output()
    assert watcher.change('activate')
    assert watcher.change('deactivate')
    weights = copy / 'alpamayo1_5' / 'model.safetensors'
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert not watcher.change('activate')
    watcher.wait_for_status('model', 'ERROR', 'checkpoint has changed since configure')
    assert watcher.state() == 'inactive'
    assert watcher.change('cleanup')
    assert watcher.change('configure'), process.output()
    assert values_of(watcher.wait_for_status('model', 'OK', 'inactive'))['backend'] == 'torch'
