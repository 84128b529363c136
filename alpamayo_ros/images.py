"""The pixels of image messages: RGB arrays from compressed and raw image data, or a clear error.

Only plain bytes and numbers come in, so that a bag can be read without a ROS runtime. The model's
numbers depend on every pixel: JPEG is decoded with libjpeg-turbo's accurate (ISLOW) transform and
smooth chroma upsampling, the same pixels as Pillow's.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from alpamayo_ros.errors import ImageError

Buffer = bytes | bytearray | memoryview | array | np.ndarray

# A damaged header can claim gigabytes; no camera of a vehicle comes near this.
MAX_PIXELS = 64 * 2 ** 20

_JPEG_MAGIC = b'\xff\xd8\xff'
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_PNG_HEADER_BYTES = 24


def decode_compressed(data: Buffer, format: str) -> np.ndarray:
    """Decode the data of a sensor_msgs/CompressedImage (JPEG or PNG).

    Returns a new uint8 array (height, width, 3), RGB. What the data is, its first bytes say;
    ``format`` ("jpeg", "rgb8; jpeg compressed bgr8", ...) only appears in messages, because
    publishers fill it in many ways while the channel order of a JPEG is fixed by the standard.
    Orientation tags are ignored: a vehicle's cameras are mounted, not held.

    Raises ``ImageError`` for data that is neither, that is cut short, or in which the decoder
    noticed damage. JPEG carries no checksum: damage that still reads as legal code (a flipped bit
    that moves a coefficient) is beyond any decoder. A lost network fragment is always noticed in
    practice because the code loses its step.
    """
    view = _bytes_of(data)
    head = bytes(view[:_PNG_HEADER_BYTES])
    if head.startswith(_JPEG_MAGIC):
        return _decode_jpeg(view, format)
    if head.startswith(_PNG_MAGIC):
        return _decode_png(view, head, format)
    start = head[:8].hex(' ') or 'nothing'
    raise ImageError(f"image of format '{format}' ({len(view)} bytes) begins with {start}; "
                     'expected JPEG (ff d8 ff) or PNG (89 50 4e 47) data')


def _decode_jpeg(view: memoryview, format: str) -> np.ndarray:
    where = f"JPEG image of format '{format}' ({len(view)} bytes)"
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(view)
        _check_size(height, width, where)
        # strict turns libjpeg's warnings into errors; without it the damaged part is grey.
        return simplejpeg.decode_jpeg(view, 'RGB', fastdct=False, fastupsample=False, strict=True)
    except ValueError as error:
        raise ImageError(f'{where} is corrupt or truncated: {error}') from error


def _decode_png(view: memoryview, head: bytes, format: str) -> np.ndarray:
    where = f"PNG image of format '{format}' ({len(view)} bytes)"
    if len(head) < _PNG_HEADER_BYTES:
        raise ImageError(f'{where} is truncated within its header')
    _check_size(int.from_bytes(head[20:24], 'big'), int.from_bytes(head[16:20], 'big'), where)
    try:
        # libpng checks the checksum of every chunk; OpenCV answers None for any failure.
        bgr = cv2.imdecode(np.frombuffer(view, np.uint8),
                           cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f'{where} cannot be decoded: {error}') from error
    if bgr is None:
        raise ImageError(f'{where} is corrupt or truncated')
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class _Encoding:
    """How the bytes of a raw image are laid out, and how they become RGB.

    ``channels`` values a pixel; ``wide``: values of 16 bit; ``planar``: NV layout, the luma rows
    are followed by half as many rows of interleaved chroma; ``block``: width and height must be
    multiples of this (height, width).
    """

    channels: int
    convert: Callable[[np.ndarray], np.ndarray]
    wide: bool = False
    planar: bool = False
    block: tuple[int, int] = (1, 1)


def _convert(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _bayer(code: int, wide: bool) -> _Encoding:
    return _Encoding(1, _convert(code), wide=wide, block=(2, 2))


def _yuv422(code: int) -> _Encoding:
    return _Encoding(2, _convert(code), block=(1, 2))


def _nv(code: int) -> _Encoding:
    return _Encoding(1, _convert(code), planar=True, block=(2, 2))


# OpenCV names a Bayer pattern by its second row, ROS by its first pixels: rggb is OpenCV's BG.
_BAYER_CODES = {'rggb': cv2.COLOR_BayerBG2RGB, 'bggr': cv2.COLOR_BayerRG2RGB,
                'gbrg': cv2.COLOR_BayerGR2RGB, 'grbg': cv2.COLOR_BayerGB2RGB}

_ENCODINGS: dict[str, _Encoding] = {
    'rgb8': _Encoding(3, np.array),
    'bgr8': _Encoding(3, _convert(cv2.COLOR_BGR2RGB)),
    'rgba8': _Encoding(4, _convert(cv2.COLOR_RGBA2RGB)),
    'bgra8': _Encoding(4, _convert(cv2.COLOR_BGRA2RGB)),
    'mono8': _Encoding(1, _convert(cv2.COLOR_GRAY2RGB)),
    'rgb16': _Encoding(3, np.array, wide=True),
    'bgr16': _Encoding(3, _convert(cv2.COLOR_BGR2RGB), wide=True),
    'mono16': _Encoding(1, _convert(cv2.COLOR_GRAY2RGB), wide=True),
    **{f'bayer_{name}8': _bayer(code, wide=False) for name, code in _BAYER_CODES.items()},
    **{f'bayer_{name}16': _bayer(code, wide=True) for name, code in _BAYER_CODES.items()},
    'yuv422': _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': _yuv422(cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': _yuv422(cv2.COLOR_YUV2RGB_YUY2),
    'nv12': _nv(cv2.COLOR_YUV2RGB_NV12),
    'nv21': _nv(cv2.COLOR_YUV2RGB_NV21),
}

RAW_ENCODINGS: tuple[str, ...] = tuple(_ENCODINGS)
"""Encodings ``decode_raw`` understands, as in sensor_msgs/Image."""


def decode_raw(data: Buffer, *, height: int, width: int, step: int, encoding: str,
               is_bigendian: bool | int = False) -> np.ndarray:
    """Decode the data of a sensor_msgs/Image, given the other fields of the message.

    ``step`` is the length of a row in bytes, padding included; the padding of the last row may be
    missing. Values of 16 bit are scaled to 8 (65535 becomes 255), in the byte order that
    ``is_bigendian`` tells. YUV is BT.601 with limited range, as in OpenCV. Returns a new uint8
    array (height, width, 3), RGB. Raises ``ImageError`` for an encoding that is not in
    ``RAW_ENCODINGS``, dimensions that do not fit it, and data that is too short.
    """
    layout = _ENCODINGS.get(encoding)
    if layout is None:
        raise ImageError(f"image encoding '{encoding}' is not supported; "
                         f"expected one of {', '.join(RAW_ENCODINGS)}")
    where = f"image of encoding '{encoding}'"
    _check_size(height, width, where)
    if height % layout.block[0] or width % layout.block[1]:
        raise ImageError(f'{where} is {width} x {height} pixels; expected a width that is a '
                         f'multiple of {layout.block[1]} and a height of {layout.block[0]}')
    row_bytes = width * layout.channels * (2 if layout.wide else 1)
    if step < row_bytes:
        raise ImageError(f'{where} has a step of {step} bytes; '
                         f'expected at least {row_bytes} for a width of {width}')
    view = _bytes_of(data)
    rows = height * 3 // 2 if layout.planar else height
    needed = (rows - 1) * step + row_bytes
    if len(view) < needed:
        raise ImageError(f'{where} holds {len(view)} bytes; expected at least {needed} for '
                         f'{rows} rows of {step} bytes')
    flat = np.frombuffer(view, np.uint8, needed)
    pixels = np.lib.stride_tricks.as_strided(flat, (rows, row_bytes), (step, 1))
    if layout.wide:
        pixels = _to_8_bit(pixels.view('>u2' if is_bigendian else '<u2'))
    if layout.channels > 1:
        pixels = pixels.reshape(rows, width, layout.channels)
    try:
        return layout.convert(pixels)
    except cv2.error as error:
        raise ImageError(f'{where}, {width} x {height} pixels, cannot be converted: '
                         f'{error}') from error


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(values.astype(np.uint16), alpha=1 / 257)


def _check_size(height: int, width: int, where: str) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ImageError(f'{where} is {width} x {height} pixels; '
                         f'expected at least 1 x 1 and at most {MAX_PIXELS} pixels')


def _bytes_of(data: Buffer) -> memoryview:
    try:
        return memoryview(data).cast('B')
    except TypeError as error:
        raise ImageError(f'image data is a {type(data).__name__}; '
                         'expected bytes or another contiguous buffer') from error


def small_copy(image: np.ndarray, max_width: int) -> np.ndarray:
    """RGB uint8 (H, W, 3) as a picture of its own, at most ``max_width`` pixels wide."""
    height, width = image.shape[:2]
    if width <= max_width:
        return image.copy()
    size = max_width, max(1, round(height * max_width / width))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
