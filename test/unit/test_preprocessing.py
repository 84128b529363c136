"""Images to patches: the sizes and the numbers transformers' image processor gives."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from golden_data import R1
from synthetic import pictures
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from alpamayo_ros.errors import ImageError
from alpamayo_ros.model.config import load_config
from alpamayo_ros.model.preprocessing import FramePreprocessor, target_size

BYTE = 2 / 255
"""One step of a byte after normalising to -1 ... 1."""
GEOMETRY = load_config(R1).vision


def processor(geometry, min_pixels, max_pixels):
    return Qwen2VLImageProcessorPil(
        patch_size=geometry.patch_size, merge_size=geometry.spatial_merge_size,
        temporal_patch_size=geometry.temporal_patch_size, image_mean=[0.5] * 3,
        image_std=[0.5] * 3, size={'shortest_edge': min_pixels, 'longest_edge': max_pixels})


@pytest.mark.parametrize('multiple, min_pixels, max_pixels', [
    (32, 163840, 196608), (32, 4096, 9216), (28, 3136, 1003520), (24, 500, 4000), (16, 1, 10 ** 7)])
def test_target_size_is_that_of_transformers(multiple, min_pixels, max_pixels):
    random = np.random.default_rng(0)
    sizes = [(1080, 1920), (720, 1280), (1, 1), (1, 200), (200, 1), (16, 16), (48, 80), (47, 33),
             (2160, 3840), (10, 1000), (15, 2999)]
    sizes += [tuple(size) for size in random.integers(1, 2500, (400, 2)).tolist()
              if max(size) / min(size) <= 200]
    for height, width in sizes:
        assert target_size(height, width, multiple=multiple, min_pixels=min_pixels,
                           max_pixels=max_pixels) == smart_resize(
            height, width, multiple, min_pixels, max_pixels), (height, width)


@pytest.mark.parametrize('size', [(1, 201), (5000, 10), (0, 5), (5, 0)])
def test_degenerate_images_are_refused(size):
    with pytest.raises(ImageError, match=f'image is {size[1]} x {size[0]}; expected'):
        target_size(*size, multiple=32, min_pixels=4096, max_pixels=9216)


def test_full_hd_becomes_320_by_576():
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=163840, max_pixels=196608)
    found = preprocess(np.zeros((1080, 1920, 3), np.uint8))
    assert found.grid_thw == (1, 320 // 16, 576 // 16) and found.source_size == (1080, 1920)
    assert found.pixel_values.shape == (180 * GEOMETRY.spatial_merge_size ** 2, 1536)
    assert found.pixel_values.dtype == torch.float32 and (found.pixel_values == -1).all()


@pytest.mark.parametrize('size, budget', [
    ((1080, 1920), (163840, 196608)), ((720, 1280), (163840, 196608)),
    ((1208, 1920), (163840, 196608)), ((60, 90), (4096, 9216)), ((300, 200), (20000, 30000))])
def test_patches_are_those_of_transformers(size, budget):
    """Where a picture is resized two bicubic filters round differently, by one step of a byte; by
    two in pure noise. Almost everywhere they agree."""
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=budget[0], max_pixels=budget[1])
    reference = processor(GEOMETRY, *budget)
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for picture, steps in ((pictures(1, *size, seed=2)[0], 1), (noise, 2)):
        found, expected = preprocess(picture), reference(images=[picture], return_tensors='pt')
        assert [list(found.grid_thw)] == expected['image_grid_thw'].tolist()
        difference = (found.pixel_values - expected['pixel_values']).abs()
        assert difference.max() <= 1.01 * steps * BYTE
        assert difference.mean() < 0.02 * BYTE


def test_a_picture_made_lower_and_wider():
    """Here the filters go along rows and columns in different order, and round in between; no
    camera of the rig is so small."""
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=4096, max_pixels=9216)
    picture = pictures(1, 37, 211, seed=2)[0]
    found = preprocess(picture)
    expected = processor(GEOMETRY, 4096, 9216)(images=[picture], return_tensors='pt')
    assert found.grid_thw == (1, 2, 14)
    difference = (found.pixel_values - expected['pixel_values']).abs()
    assert difference.max() <= 2.02 * BYTE and difference.mean() < 0.4 * BYTE


@pytest.mark.parametrize('patch, merge, temporal', [(16, 2, 2), (8, 3, 2), (14, 2, 1), (4, 1, 3)])
def test_patches_of_other_geometries_are_exact_without_resizing(patch, merge, temporal):
    geometry = dataclasses.replace(GEOMETRY, patch_size=patch, spatial_merge_size=merge,
                                   temporal_patch_size=temporal)
    height, width = 2 * patch * merge, 3 * patch * merge
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    budget = (1, height * width)
    found = FramePreprocessor(geometry, min_pixels=1, max_pixels=height * width)(picture)
    expected = processor(geometry, *budget)(images=[picture], return_tensors='pt')['pixel_values']
    assert found.pixel_values.shape == (6 * merge ** 2, geometry.patch_values)
    assert (found.pixel_values - expected).abs().max() < 1e-6


def test_views_are_taken():
    """Also those torch would refuse: turned channels, mirrored rows, a read-only buffer."""
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=4096, max_pixels=9216)
    picture = pictures(1, 70, 100, seed=3)[0]
    read_only = picture.copy()
    read_only.flags.writeable = False
    expected = preprocess(picture).pixel_values
    for view in (picture[..., ::-1].copy()[..., ::-1], picture[::-1].copy()[::-1], read_only,
                 np.asfortranarray(picture)):
        assert (preprocess(view).pixel_values == expected).all()
    # And without resizing.
    exact = np.ascontiguousarray(picture[:64, :96])
    expected = preprocess(exact).pixel_values
    assert (preprocess(exact[..., ::-1].copy()[..., ::-1]).pixel_values == expected).all()


@pytest.mark.parametrize('image', [
    np.zeros((64, 96), np.uint8), np.zeros((64, 96, 4), np.uint8),
    np.zeros((64, 96, 3), np.float32), np.zeros((1, 64, 96, 3), np.uint8),
    np.zeros((64, 96, 3), np.uint16)])
def test_anything_but_rgb_bytes_is_refused(image):
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=4096, max_pixels=9216)
    with pytest.raises(ImageError, match=f'image is {image.dtype} .*expected uint8'):
        preprocess(image)


def test_any_thread_may_call_it():
    preprocess = FramePreprocessor(GEOMETRY, min_pixels=4096, max_pixels=9216)
    images = pictures(24, 90, 130, seed=4)
    expected = [preprocess(image).pixel_values for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = [item.pixel_values for item in pool.map(preprocess, images)]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(('height', 'width', 'rows', 'columns', 'levels'), [
    (300, 420, 288, 416, 0), (48, 80, 64, 64, 0), (360, 640, 320, 576, 0),
    (540, 960, 320, 576, 1), (1080, 1920, 320, 576, 1)])
def test_resize_is_that_of_pillow(height, width, rows, columns, levels):
    """Noise is the hardest picture: every filter tap counts."""
    from PIL import Image

    from alpamayo_ros.model.preprocessing import resize
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BICUBIC)
    difference = np.abs(resize(rgb, rows, columns).astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= levels and difference.mean() < 0.01
