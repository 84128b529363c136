"""Image data to RGB: exact pixels, and an error for everything that is not whole."""

from __future__ import annotations

import io
from array import array

import cv2
import numpy as np
import pytest
from PIL import Image

from alpamayo_ros.errors import ImageError
from alpamayo_ros.images import RAW_ENCODINGS, decode_compressed, decode_raw


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with smooth colour and some grain, so that JPEG has work in every block."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 16, 2), max(width // 16, 2), 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def encoded(rgb: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind, **options)
    return stream.getvalue()


def with_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


@pytest.fixture(scope='module')
def jpeg() -> bytes:
    return encoded(picture(270, 480), 'JPEG', quality=85)


@pytest.mark.parametrize('options', [
    {'quality': 85, 'subsampling': 2}, {'quality': 95, 'subsampling': 1},
    {'quality': 60, 'subsampling': 0}, {'quality': 80, 'progressive': True}])
@pytest.mark.parametrize('size', [(96, 160), (97, 161), (1, 1)])
def test_jpeg_has_the_pixels_pillow_gives(options, size) -> None:
    data = encoded(picture(*size), 'JPEG', **options)
    rgb = decode_compressed(data, 'jpeg')
    assert rgb.dtype == np.uint8 and rgb.shape == (*size, 3) and rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, with_pillow(data))


def test_grey_jpeg_becomes_rgb() -> None:
    data = encoded(picture(40, 60)[..., 0], 'JPEG')
    np.testing.assert_array_equal(decode_compressed(data, 'mono8; jpeg compressed '),
                                  with_pillow(data))


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview, lambda data: array('B', data),
                                  lambda data: np.frombuffer(data, np.uint8)])
def test_any_buffer_is_taken(jpeg, wrap) -> None:
    np.testing.assert_array_equal(decode_compressed(wrap(jpeg), 'jpeg'), with_pillow(jpeg))


def test_bytes_after_the_end_of_a_jpeg_are_ignored(jpeg) -> None:
    # Hardware encoders pad to a block size.
    np.testing.assert_array_equal(decode_compressed(jpeg + bytes(512), 'jpeg'), with_pillow(jpeg))


def test_orientation_tags_are_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ('JPEG', 'PNG'):
        assert decode_compressed(encoded(picture(32, 64), kind, exif=exif), kind).shape[:2] == (
            32, 64)


@pytest.mark.parametrize('keep', [0.02, 0.1, 0.5, 0.9, 0.999])
def test_truncated_jpeg_is_refused(jpeg, keep) -> None:
    with pytest.raises(ImageError, match=r"'bgr8; jpeg compressed bgr8'.*corrupt or truncated"):
        decode_compressed(jpeg[:int(len(jpeg) * keep)], 'bgr8; jpeg compressed bgr8')


def test_jpeg_without_its_last_byte_is_refused(jpeg) -> None:
    with pytest.raises(ImageError, match='truncated'):
        decode_compressed(jpeg[:-1], 'jpeg')


@pytest.mark.parametrize('seed', range(8))
def test_damage_in_the_middle_of_a_jpeg_is_refused(jpeg, seed) -> None:
    rng = np.random.default_rng(seed)
    start = int(rng.integers(len(jpeg) // 4, len(jpeg) // 2))
    noise = rng.integers(0, 256, 1400, dtype=np.uint8).tobytes()
    for damaged in (jpeg[:start] + jpeg[start + 1400:], jpeg[:start] + noise + jpeg[start + 1400:]):
        with pytest.raises(ImageError, match='corrupt or truncated'):
            decode_compressed(damaged, 'jpeg')


@pytest.mark.parametrize('seed', range(20))
def test_any_bytes_give_pixels_or_an_image_error(jpeg, seed) -> None:
    rng = np.random.default_rng(seed)
    for source in (jpeg, encoded(picture(30, 40), 'PNG')):
        damaged = bytearray(source)
        for position in rng.integers(0, len(source), 10):
            damaged[position] = int(rng.integers(256))
        try:
            rgb = decode_compressed(damaged[:int(rng.integers(len(source)))], 'jpeg')
        except ImageError:
            continue
        assert rgb.ndim == 3 and rgb.shape[2] == 3


def test_a_size_no_camera_has_is_refused_before_memory_is_taken(jpeg) -> None:
    frame = jpeg.index(b'\xff\xc0')
    huge = jpeg[:frame + 5] + b'\xff\x00\xff\x00' + jpeg[frame + 9:]
    with pytest.raises(ImageError, match='65280 x 65280'):
        decode_compressed(huge, 'jpeg')


@pytest.mark.parametrize('data', [b'', b'\xff', bytes(1000), b'RIFF1234WEBPVP8 '])
def test_data_of_another_kind_is_named(data) -> None:
    with pytest.raises(ImageError, match=r"format 'webp' \(\d+ bytes\).*expected JPEG"):
        decode_compressed(data, 'webp')


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P'])
def test_png_is_exact(mode) -> None:
    data = encoded(np.asarray(Image.fromarray(picture(50, 70)).convert(mode)), 'PNG')
    np.testing.assert_array_equal(decode_compressed(data, 'bgr8; png compressed bgr8'),
                                  with_pillow(data))


def test_damaged_png_is_refused() -> None:
    data = encoded(picture(50, 70), 'PNG')
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    for damaged in (bytes(flipped), data[:len(data) // 2], data[:-16], data[:20]):
        with pytest.raises(ImageError, match='PNG'):
            decode_compressed(damaged, 'png')


def raw(pixels: np.ndarray, padding: int = 0) -> tuple[bytes, int]:
    """Bytes and step of an image whose rows end in ``padding`` bytes that are not pixels."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=171)
    return padded.tobytes(), padded.shape[1]


def decode(pixels: np.ndarray, encoding: str, *, height: int, width: int, padding: int = 0,
           is_bigendian: bool = False) -> np.ndarray:
    data, step = raw(pixels, padding)
    return decode_raw(data, height=height, width=width, step=step, encoding=encoding,
                      is_bigendian=is_bigendian)


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize('encoding, order', [
    ('rgb8', [0, 1, 2]), ('bgr8', [2, 1, 0]), ('rgba8', [0, 1, 2, 0]), ('bgra8', [2, 1, 0, 0])])
def test_colour_orders_and_row_padding(encoding, order, padding) -> None:
    rgb = picture(7, 9)
    out = decode(rgb[..., order], encoding, height=7, width=9, padding=padding)
    assert out.flags.c_contiguous and out.flags.writeable and out.dtype == np.uint8
    np.testing.assert_array_equal(out, rgb)


def test_the_padding_of_the_last_row_may_be_missing() -> None:
    rgb = picture(4, 5)
    data, step = raw(rgb, padding=6)
    out = decode_raw(data[:-6], height=4, width=5, step=step, encoding='rgb8', is_bigendian=0)
    np.testing.assert_array_equal(out, rgb)


def test_the_result_does_not_share_the_message_memory() -> None:
    data = bytearray(12)
    out = decode_raw(data, height=2, width=2, step=6, encoding='rgb8', is_bigendian=False)
    data[0] = 200
    assert out[0, 0, 0] == 0


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('encoding, order', [
    ('mono16', [1, 1, 1]), ('rgb16', [0, 1, 2]), ('bgr16', [2, 1, 0])])
def test_sixteen_bit_values_in_both_byte_orders(encoding, order, is_bigendian) -> None:
    values = np.random.default_rng(1).integers(0, 2 ** 16, (5, 6, 3))
    values[0, 0], values[0, 1] = 65535, 0
    stored = values[..., 1] if encoding == 'mono16' else values[..., order]
    out = decode(stored.astype('>u2' if is_bigendian else '<u2'), encoding, height=5, width=6,
                 padding=2, is_bigendian=is_bigendian)
    expected = values[..., [1, 1, 1]] if encoding == 'mono16' else values
    np.testing.assert_array_equal(out, np.round(expected / 257))


def test_mono8_is_grey() -> None:
    grey = picture(6, 8)[..., 0]
    np.testing.assert_array_equal(decode(grey, 'mono8', height=6, width=8, padding=3),
                                  np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_bayer_patterns_keep_their_colours(pattern, bits) -> None:
    colour = {'r': 200, 'g': 120, 'b': 40}
    tile = np.array([colour[letter] for letter in pattern]).reshape(2, 2)
    mosaic = np.tile(tile, (6, 8)) * (257 if bits == 16 else 1)
    out = decode(mosaic.astype(f'<u{bits // 8}'), f'bayer_{pattern}{bits}', height=12, width=16)
    np.testing.assert_array_equal(out, np.full((12, 16, 3), (200, 120, 40)))


# BT.601, limited range: Y 81, U 90, V 240 is pure red.
RED_YUV = {'y': 81, 'u': 90, 'v': 240}


@pytest.mark.parametrize('encoding, order', [
    ('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')])
def test_packed_yuv(encoding, order) -> None:
    row = [RED_YUV[letter] for letter in order] * 4
    out = decode(np.array([row] * 6, np.uint8), encoding, height=6, width=8, padding=5)
    np.testing.assert_allclose(out, np.full((6, 8, 3), (255, 0, 0)), atol=2)


@pytest.mark.parametrize('encoding, order', [('nv12', 'uv'), ('nv21', 'vu')])
def test_planar_yuv(encoding, order) -> None:
    luma = np.full((6, 8), RED_YUV['y'], np.uint8)
    chroma = np.tile(np.array([RED_YUV[letter] for letter in order], np.uint8), (3, 4))
    out = decode(np.vstack([luma, chroma]), encoding, height=6, width=8, padding=4)
    np.testing.assert_allclose(out, np.full((6, 8, 3), (255, 0, 0)), atol=2)


def test_unknown_encoding_is_named_with_the_known_ones() -> None:
    with pytest.raises(ImageError, match="'32FC1' is not supported; expected one of rgb8, bgr8"):
        decode_raw(bytes(16), height=2, width=2, step=8, encoding='32FC1', is_bigendian=False)


@pytest.mark.parametrize('encoding', RAW_ENCODINGS)
def test_short_data_is_refused_for_every_encoding(encoding) -> None:
    with pytest.raises(ImageError, match=f"'{encoding}' holds 255 bytes; expected at least"):
        decode_raw(bytes(255), height=8, width=8, step=64, encoding=encoding, is_bigendian=False)


@pytest.mark.parametrize('change, message', [
    ({'height': 0}, '8 x 0 pixels'), ({'width': 0}, '0 x 8 pixels'), ({'step': 23}, 'at least 24'),
    ({'height': 10 ** 6, 'width': 10 ** 6, 'step': 3 * 10 ** 6}, 'at most'),
    ({'encoding': 'nv12', 'height': 7}, 'multiple of 2'),
    ({'encoding': 'yuv422', 'width': 7}, 'multiple of 2')])
def test_dimensions_that_do_not_fit_are_refused(change, message) -> None:
    fields = {'height': 8, 'width': 8, 'step': 24, 'encoding': 'rgb8', 'is_bigendian': False}
    with pytest.raises(ImageError, match=message):
        decode_raw(bytes(192), **{**fields, **change})


def test_data_that_is_no_buffer_is_refused() -> None:
    with pytest.raises(ImageError, match='image data is a str'):
        decode_compressed('jpeg', 'jpeg')
