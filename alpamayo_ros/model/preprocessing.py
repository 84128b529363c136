"""An image to patches, as the released model was trained: bicubic resize, normalise, cut up."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from alpamayo_ros.errors import ImageError
from alpamayo_ros.model.config import VisionGeometry
from alpamayo_ros.types import ImagePatches

_MAX_ASPECT_RATIO = 200
_TORCH_FROM = 1.5


def target_size(height: int, width: int, *, multiple: int, min_pixels: int,
                max_pixels: int) -> tuple[int, int]:
    """The size an image is resized to: (height, width), multiples of ``multiple``.

    The nearest multiples, scaled with the aspect ratio kept into [min_pixels, max_pixels].
    """
    if min(height, width) < 1 or max(height, width) / min(height, width) > _MAX_ASPECT_RATIO:
        raise ImageError(f'image is {width} x {height}; expected sides of at least 1 pixel and an '
                         f'aspect ratio of at most {_MAX_ASPECT_RATIO}')
    rows = round(height / multiple) * multiple
    columns = round(width / multiple) * multiple
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows = max(multiple, math.floor(height / shrink / multiple) * multiple)
        columns = max(multiple, math.floor(width / shrink / multiple) * multiple)
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * grow / multiple) * multiple
        columns = math.ceil(width * grow / multiple) * multiple
    return rows, columns


class FramePreprocessor:
    """RGB image to ``ImagePatches``; stateless after construction, any thread may call it.

    ``min_pixels`` and ``max_pixels`` bound the size after resizing. Patches are float32 on the
    CPU: value = (byte / 255 - 0.5) / 0.5, order (channel, time, row, column) within a patch, and
    merge x merge neighbouring patches stand together.
    """

    def __init__(self, geometry: VisionGeometry, *, min_pixels: int, max_pixels: int) -> None:
        self._geometry = geometry
        self.min_pixels, self.max_pixels = min_pixels, max_pixels

    def __call__(self, rgb: np.ndarray) -> ImagePatches:
        """rgb: uint8 (H, W, 3). ``ImageError`` for anything else."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ImageError(f'image is {rgb.dtype} {rgb.shape}; expected uint8 (height, width, 3)')
        height, width = rgb.shape[:2]
        g = self._geometry
        rows, columns = target_size(height, width, multiple=g.patch_size * g.spatial_merge_size,
                                    min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        return self.resized(rgb, rows, columns)

    def resized(self, rgb: np.ndarray, rows: int, columns: int) -> ImagePatches:
        """The same with the target size (pixels) given."""
        height, width = rgb.shape[:2]
        if (rows, columns) != (height, width):
            rgb = resize(rgb, rows, columns)
        return ImagePatches(self._patches(rgb), (
            1, rows // self._geometry.patch_size, columns // self._geometry.patch_size),
            (height, width))

    def _patches(self, rgb: np.ndarray) -> torch.Tensor:
        g = self._geometry
        patch, merge = g.patch_size, g.spatial_merge_size
        rows, columns = rgb.shape[0] // patch, rgb.shape[1] // patch
        # Cut up as bytes, a quarter of the traffic, and normalise at the end.
        cut = rgb.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
        cut = np.ascontiguousarray(cut.transpose(0, 3, 1, 4, 6, 2, 5)).reshape(
            rows * columns, 3, 1, patch * patch)
        values = torch.from_numpy(cut).to(torch.float32).div_(127.5).sub_(1.0)
        return values.expand(-1, -1, g.temporal_patch_size, -1).reshape(rows * columns, -1)


def resize(rgb: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pillow's bicubic filter, which the checkpoints were trained with.

    Resizing is most of the work of a frame, and six 1080p cameras at 10 Hz must fit on two cores.
    Where an image shrinks well, PyTorch's filter gives the same to within one of 255 in a fifth of
    the time; nearer to its own size the two can differ by twenty, so there it is Pillow itself.
    """
    height, width = rgb.shape[:2]
    if min(height / rows, width / columns) < _TORCH_FROM:
        return np.asarray(Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BICUBIC))
    # A view with negative steps, or a read-only one, is copied: torch takes neither.
    rgb = np.require(rgb, requirements=('C', 'W'))
    image = torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0)
    resized = interpolate(image, (rows, columns), mode='bicubic', antialias=True)[0]
    return resized.permute(1, 2, 0).contiguous().numpy()
