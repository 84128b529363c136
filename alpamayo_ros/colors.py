"""The colours of a plan, the same wherever it is drawn, and told apart without seeing red or green.

The selected candidate is orange, the others go from light to dark blue with their rank, those a
vehicle could not drive are a faint purple: hues of the palette by Okabe and Ito (2008), which also
differ in lightness.
"""

from __future__ import annotations

RGBA = tuple[float, float, float, float]
"""Red, green, blue and opacity, each 0 to 1."""

SELECTED: RGBA = (0.95, 0.62, 0.0, 1.0)
IMPLAUSIBLE: RGBA = (0.80, 0.47, 0.65, 0.3)
VEHICLE: RGBA = (1.0, 1.0, 1.0, 1.0)
_BEST: RGBA = (0.60, 0.85, 1.0, 0.85)
_WORST: RGBA = (0.0, 0.35, 0.70, 0.4)


def candidate_color(rank: int, count: int, plausible: bool) -> RGBA:
    """Return the colour of the candidate of that rank (0 is the selected one) among ``count``."""
    if not plausible:
        return IMPLAUSIBLE
    if rank == 0:
        return SELECTED
    share = (rank - 1) / max(1, count - 2)
    red, green, blue, opacity = (
        best + share * (worst - best) for best, worst in zip(_BEST, _WORST, strict=True))
    return red, green, blue, opacity
