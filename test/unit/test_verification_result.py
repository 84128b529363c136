"""What counts as passed, and how the table says it."""

from __future__ import annotations

import pytest

from alpamayo_ros.verification.result import Check, table


@pytest.mark.parametrize(('error', 'noted', 'passed', 'within'), [
    (0.5, None, True, True), (1.5, None, False, False), (1.5, True, True, False),
    (1.5, False, False, False), (float('nan'), None, False, False),
    (float('inf'), None, False, False)])
def test_the_tolerance_or_the_note_decides(error, noted, passed, within):
    check = Check('case', 'stage', error, 1.0, 'because', noted)
    assert check.passed == passed and check.within == within
    assert ('PASS' in table([check])) == passed
    assert ('PASS' in table([check], strict=True)) == within
    assert 'because' in table([check])
