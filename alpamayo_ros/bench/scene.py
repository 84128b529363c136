"""What is planned from in a measurement: six synthetic camera pictures, driving straight on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from alpamayo_ros.cameras import camera_by_name
from alpamayo_ros.types import HISTORY_DT_NS, HISTORY_STEPS, CameraFrame, ImagePatches, Observation

SPEED_MPS = 8.0
_JPEG_QUALITY = 90
# Side of the noise that is blown up to the picture, and its share: structure of every size.
_OCTAVES = ((6, 90.0), (24, 60.0), (96, 30.0), (384, 14.0))


def picture(index: int, height: int, width: int) -> np.ndarray:
    """RGB uint8 (height, width, 3), one of its own for each index; as hard to compress as a photo
    of a street."""
    random = np.random.default_rng(index)
    image = np.full((height, width, 3), 127.0, np.float32)
    for side, share in _OCTAVES:
        noise = random.standard_normal((side, max(1, side * width // height), 3), np.float32)
        image += share * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(rgb: np.ndarray) -> bytes:
    """The picture as a camera driver would send it: JPEG, quality 90, 4:2:0."""
    return cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def observation(cameras: Sequence[str], images: Sequence[ImagePatches],
                frames_per_camera: int) -> Observation:
    """An observation with camera i showing ``images[i]`` all the time."""
    t0_ns = 1_000_000_000_000
    ids = [camera_by_name(name).camera_id for name in cameras]
    frames = tuple(
        tuple(CameraFrame(camera_id, t0_ns - back * HISTORY_DT_NS, image)
              for back in range(frames_per_camera - 1, -1, -1))
        for camera_id, image in sorted(zip(ids, images, strict=True), key=lambda pair: pair[0]))
    back_s = np.arange(HISTORY_STEPS - 1, -1, -1) * HISTORY_DT_NS / 1e9
    xyz = np.zeros((HISTORY_STEPS, 3))
    xyz[:, 0] = -SPEED_MPS * back_s
    return Observation(t0_ns=t0_ns, frames=frames, history_xyz=xyz,
                       history_rot=np.broadcast_to(np.eye(3), (HISTORY_STEPS, 3, 3)).copy())
