"""Cases for nano in the form of the golden ones, from scenes of the driving world.

Computed by ``ReferenceModel``. nano is trained, so its loop is well conditioned: what agrees does
so to rounding. Run as a program after nano was trained anew, this writes the case that ships with
it, for ``alpamayo verify resource/nano``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from reference_model import ReferenceModel
from synthetic import Wish, write_case

from alpamayo_ros.cameras import camera_by_id
from alpamayo_ros.rig import NOMINAL_RIG
from alpamayo_ros.world.render import Renderer
from alpamayo_ros.world.samples import draw_sample

NANO = Path(__file__).resolve().parents[2] / 'resource' / 'nano'
RENDERED = (320, 192)


def scene(kind: str, seed: int, cameras: tuple[int, ...], frames: int, **wish: object) -> Wish:
    """What is asked for about an instant of a drive."""
    sample = draw_sample(kind, seed)
    renderer = Renderer(sample.drive)
    images = [renderer.image(step, NOMINAL_RIG[camera_by_id(camera).name], *RENDERED)
              for camera in cameras for step in range(sample.step - frames + 1, sample.step + 1)]
    return Wish(cameras=cameras, frames_per_camera=frames, size=RENDERED[::-1], images=images,
                history=(sample.history_xyz, sample.history_rot), navigation=sample.navigation,
                seed=seed, min_pixels=13000, max_pixels=17000, **wish)


def ship() -> None:
    """Write the case that ships with nano: one frame of two cameras, so that it stays small."""
    (NANO / 'cases.json').unlink(missing_ok=True)
    write_case(ReferenceModel.from_checkpoint(NANO), NANO, 'turn_left',
               scene('turn_left', 9, (1, 6), 1, total=24))


def copy_with_cases(directory: Path) -> None:
    """Copy nano to ``directory`` and add two cases."""
    shutil.copytree(NANO, directory)
    model = ReferenceModel.from_checkpoint(directory)
    write_case(model, directory, 'red_light', scene('red_light', 4, (0, 1, 2, 3, 5, 6), 4,
                                                    total=24))
    write_case(model, directory, 'turn_guided', scene('turn_left', 9, (1, 6), 2, total=12,
                                                      ends=(4, 0, 8, 2, 9, 6), guidance=1.5))


if __name__ == '__main__':
    ship()
