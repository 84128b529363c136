"""One line of the verification's table, and the tolerances."""

from __future__ import annotations

import math
from dataclasses import dataclass

ACTION_TOLERANCE = 1e-4
XYZ_TOLERANCE_M = 1e-3
ROTATION_TOLERANCE = 1e-4
PATCH_TOLERANCE = 2 / 255
PATCH_MEAN_TOLERANCE = 0.2 / 255


@dataclass(frozen=True)
class Check:
    """The largest error of one stage of one case, and what was allowed."""

    case: str
    stage: str
    error: float
    tolerance: float
    note: str = ''
    decided_by_note: bool | None = None

    @property
    def within(self) -> bool:
        """Within the tolerance, digit by digit."""
        return math.isfinite(self.error) and self.error <= self.tolerance

    @property
    def passed(self) -> bool:
        """Within tolerance; where float32 cannot decide that, what the note's test said."""
        if self.decided_by_note is not None:
            return self.decided_by_note
        return self.within


def table(checks: list[Check], *, strict: bool = False) -> str:
    """The checks as text, one line each; ``strict``: only the tolerance decides."""
    header = ('case', 'stage', 'error', 'tolerance', 'result', 'note')
    rows = []
    for check in checks:
        passed = check.within if strict else check.passed
        rows.append((check.case, check.stage, f'{check.error:.2e}', f'{check.tolerance:.2e}',
                     'PASS' if passed else 'FAIL', check.note))
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(5)]
    lines = []
    for row in [header, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append('  '.join([*cells, row[5]]).rstrip())
    return '\n'.join(lines)
