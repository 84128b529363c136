"""What the cameras of the driving world see: geometry, occlusion, states, light and weather."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.rig import NOMINAL_RIG, MountedCamera
from alpamayo_ros.world.render import LABELS, Renderer
from alpamayo_ros.world.types import Drive, Look, Strip, Thing

CLEAR = Look(seed=5, sun_azimuth=1.2, sun_elevation=0.8, brightness=1.0, haze_m=400.0,
             sky=(112, 158, 214), haze=(206, 220, 230), ground=(104, 128, 82),
             asphalt=(84, 85, 88), noise=0.0)
FRONT, TELE, REAR = (NOMINAL_RIG[name] for name in ('front_wide', 'front_tele', 'rear_left'))
SIZE = (320, 192)
CAR = Thing('car', 14.0, 0.0, 0.0, (4.5, 1.8, 1.5), (40, 80, 170))
TRUCK = Thing('truck', 20.0, 0.0, 0.0, (8.0, 2.5, 3.4), (60, 90, 60))
RED = Thing('traffic_light', 20.0, 0.0, math.pi, (0.4, 0.5, 3.6), (30, 32, 34), 'red')


def straight(y: float, start: float = -60.0, end: float = 200.0) -> np.ndarray:
    x = np.arange(start, end, 2.0)
    return np.stack([x, np.full_like(x, y)], axis=1)


ROAD = (Strip('sidewalk', straight(-4.5), 3.0), Strip('asphalt', straight(1.75), 8.0),
        Strip('edge_line', straight(-1.9), 0.15),
        Strip('dashed_line', straight(1.75), 0.15, (3.0, 6.0)),
        Strip('crossing', np.array([(30.0, -2.2), (30.0, 5.7)]), 3.5),
        Strip('stop_line', np.array([(26.0, -1.75), (26.0, 1.7)]), 0.4))


def drive(*things: Thing, look: Look = CLEAR, strips: tuple[Strip, ...] = ROAD,
          fixed: tuple[Thing, ...] = (), steps: int = 10,
          ego: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Drive:
    states = np.zeros((steps, 6))
    states[:, :3] = ego
    return Drive('clear_road', 0, look, strips, fixed, (things,) * steps, states, (None,) * steps)


def street() -> Drive:
    """A busy street with one of everything."""
    fixed = [Thing('building', x, side * 15.0, 0.0, (16.0, 10.0, 9.0), (200, 180, 150))
             for x in range(-40, 160, 20) for side in (-1, 1)]
    fixed += [Thing('tree', x, 8.0, 0.0, (4.0, 4.0, 7.0), (60, 100, 50)) for x in range(-30, 90, 9)]
    fixed += [Thing('pole', 18.0, -6.0, 0.0, (0.2, 0.2, 7.0), (120, 122, 125)),
              Thing('sign', 16.0, -3.6, math.pi, (0.1, 0.8, 2.6), (190, 40, 40)),
              Thing('barrier', 12.0, 4.5, math.pi / 2, (2.0, 0.3, 1.0), (200, 40, 40))]
    return drive(
        CAR, TRUCK, RED, Thing('bus', -14.0, 3.5, math.pi, (12.0, 2.5, 3.1), (220, 180, 40)),
        Thing('van', 30.0, 3.5, math.pi, (5.4, 2.0, 2.3), (220, 220, 220), 'left'),
        Thing('pedestrian', 12.0, -2.6, 1.6, (0.5, 0.6, 1.75), (220, 40, 120)),
        Thing('cyclist', 9.0, -2.8, 0.0, (1.8, 0.6, 1.75), (240, 220, 30)),
        Thing('cone', 9.0, 2.0, 0.0, (0.45, 0.45, 0.8), (255, 100, 0)), fixed=tuple(fixed))


def seen(labels: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(labels, [LABELS.index(name) for name in names])


def both(scene: Drive, camera: MountedCamera = FRONT, step: int = 0,
         size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    return Renderer(scene).image(step, camera, *size, labels=True)


def corners(thing: Thing) -> np.ndarray:
    """Return the (8, 3) corners of a thing's box."""
    length, width, height = thing.size
    cos, sin = math.cos(thing.yaw), math.sin(thing.yaw)
    return np.array([(thing.x + cos * a - sin * b, thing.y + sin * a + cos * b, z)
                     for a in (-length / 2, length / 2) for b in (-width / 2, width / 2)
                     for z in (0.0, height)])


@pytest.mark.parametrize('name', NOMINAL_RIG)
def test_a_thing_is_where_its_corners_project(name: str) -> None:
    camera = NOMINAL_RIG[name]
    away = 16.0 if name == 'front_tele' else 9.0
    bearing = math.radians(camera.yaw_deg + 8.0)
    truck = replace(TRUCK, x=camera.xyz[0] + away * math.cos(bearing),
                    y=camera.xyz[1] + away * math.sin(bearing), yaw=0.5 + bearing,
                    size=(4.0, 2.2, 2.4))
    _, labels = both(drive(truck, strips=()), camera)
    rows, columns = np.nonzero(seen(labels, 'vehicle'))
    pixels, _ = camera.project(corners(truck), *SIZE)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert columns.min() == pytest.approx(max(low[0], 0), abs=2.0)
    assert columns.max() == pytest.approx(min(high[0], SIZE[0]) - 1, abs=2.0)
    assert rows.min() == pytest.approx(max(low[1], 0), abs=2.0)
    # Its lowest corner may be one without a wheel, of the load floor.
    floor = corners(truck)
    floor[:, 2] = np.maximum(floor[:, 2], 0.75)
    lowest = camera.project(floor, *SIZE)[0].max(axis=0)[1]
    assert min(lowest, SIZE[1]) - 2.5 <= rows.max() <= min(high[1], SIZE[1])


def test_the_scene_is_seen_from_where_the_ego_is() -> None:
    turn, x, y = 0.7, 30.0, -12.0
    moved = replace(CAR, x=x + CAR.x * math.cos(turn), y=y + CAR.x * math.sin(turn), yaw=turn)
    _, here = both(drive(CAR, strips=()))
    _, there = both(drive(moved, strips=(), ego=(x, y, turn)))
    assert np.mean(here != there) < 1e-3


def test_the_label_map_names_what_is_drawn() -> None:
    image, labels = both(street())
    for name in ('asphalt', 'building', 'tree', 'vehicle', 'pedestrian', 'cone', 'barrier',
                 'marking', 'light_red', 'sign', 'pole', 'cyclist', 'sidewalk', 'sky', 'ground'):
        assert seen(labels, name).any(), name
    tone = {name: image[seen(labels, name)].mean(axis=0)
            for name in ('marking', 'asphalt', 'ground', 'pedestrian', 'cone')}
    assert tone['marking'].mean() > tone['asphalt'].mean() + 60
    assert np.argmax(tone['ground']) == 1
    assert tone['pedestrian'][0] > tone['pedestrian'][1] + 30
    assert tone['cone'][0] > tone['cone'][2] + 80


def test_the_nearer_thing_hides_the_farther_in_whatever_order_they_come() -> None:
    near = replace(TRUCK, x=15.0)
    far = replace(CAR, x=30.0)
    cone = Thing('cone', 30.0, 0.0, 0.0, (0.45, 0.45, 0.8), (255, 100, 0))
    assert seen(both(drive(far))[1], 'vehicle').any()
    assert seen(both(drive(cone))[1], 'cone').any()
    assert not seen(both(drive(near, cone))[1], 'cone').any()
    in_front = replace(cone, x=9.0)
    assert seen(both(drive(near, in_front))[1], 'cone').sum() == seen(
        both(drive(in_front))[1], 'cone').sum()
    for one, other in ((near, far), (near, cone), (near, in_front)):
        assert np.array_equal(both(drive(one, other))[0], both(drive(other, one))[0])


def test_a_long_house_does_not_hide_what_stands_before_it() -> None:
    house = Thing('building', 40.0, 13.0, 0.0, (60.0, 12.0, 9.0), (200, 180, 150))
    parked = replace(CAR, x=48.0, y=5.0)
    alone = seen(both(drive(parked), TELE)[1], 'vehicle')
    assert alone.sum() > 50
    assert np.array_equal(alone, seen(both(drive(parked, fixed=(house,)), TELE)[1], 'vehicle'))


def test_a_light_is_seen_from_its_front_alone() -> None:
    image, labels = both(drive(RED), TELE)
    front = seen(labels, 'light_red')
    assert front.sum() > 100
    lamp = image[front].astype(int)
    assert (lamp[:, 0] > 240).any() and (lamp[:, 0] - lamp[:, 1]).max() > 180
    for yaw in (0.0, 0.5 * math.pi, -0.5 * math.pi):
        image, labels = both(drive(replace(RED, yaw=yaw)), TELE)
        assert not seen(labels, 'light_red').any()
        head = image[seen(labels, 'light_dark')].astype(int)
        assert len(head) > 50 and (head[:, 0] - head[:, 1]).max() < 20


def test_the_lamps_of_a_light_are_red_on_top_amber_and_green_below() -> None:
    rows = {}
    for state, lit in (('red', (255, 28, 20)), ('amber', (255, 176, 0)), ('green', (20, 255, 110))):
        image, labels = both(drive(replace(RED, state=state)), TELE)
        assert seen(labels, f'light_{state}').any()
        close = np.abs(image.astype(int) - lit).max(axis=2) < 20
        assert close.sum() > 20, state
        rows[state] = np.nonzero(close)[0].mean()
    assert rows['red'] + 3 < rows['amber'] < rows['green'] - 3


def test_brake_lamps_shine() -> None:
    def red(state: str) -> int:
        image = both(drive(replace(CAR, state=state)), TELE)[0].astype(int)
        return int(((image[..., 0] > 220) & (image[..., 1] < 90)).sum())

    assert red('') == 0
    assert red('braking') > 150
    image, labels = both(drive(replace(CAR, state='braking'), look=replace(CLEAR, brightness=0.4)))
    assert seen(labels, 'vehicle_braking').any()
    assert image[seen(labels, 'vehicle_braking')][:, 0].max() > 240


@pytest.mark.parametrize('kind', ['car', 'van', 'truck', 'bus'])
def test_indicators_blink_on_their_side(kind: str) -> None:
    sizes = {'car': (4.5, 1.8, 1.5), 'van': (5.4, 2.0, 2.3), 'truck': (8.0, 2.5, 3.4),
             'bus': (12.0, 2.5, 3.1)}
    vehicle = Thing(kind, 18.0, 0.0, 0.0, sizes[kind], (60, 90, 150))
    middles = {}
    for state in ('left', 'right'):
        renderer = Renderer(drive(replace(vehicle, state=state), steps=12))
        lit = []
        for step in range(12):
            image, labels = renderer.image(step, TELE, *SIZE, labels=True)
            amber = (image[..., 0] > 220) & (abs(image[..., 1].astype(int) - 152) < 25) & (
                image[..., 2] < 60)
            assert amber.any() == seen(labels, 'vehicle_indicating').any()
            lit.append(bool(amber.any()))
            if amber.any():
                middles[state] = np.nonzero(amber)[1].mean()
        assert 0 < sum(lit) < 12
    assert middles['left'] < SIZE[0] / 2 - 10 < SIZE[0] / 2 + 10 < middles['right']


def test_the_same_drive_gives_the_same_images_in_any_order() -> None:
    scene = replace(street(), look=replace(CLEAR, noise=3.0, rain=0.4))
    one, other = Renderer(scene), Renderer(scene)
    frames = {(step, camera): one.image(step, camera, *SIZE)
              for step in (0, 3) for camera in (FRONT, REAR)}
    for (step, camera), frame in reversed(frames.items()):
        assert frame.dtype == np.uint8 and frame.shape == (SIZE[1], SIZE[0], 3)
        assert np.array_equal(frame, other.image(step, camera, *SIZE))
    assert not np.array_equal(frames[0, FRONT], frames[3, FRONT])
    reseeded = replace(scene, look=replace(scene.look, seed=6))
    assert not np.array_equal(frames[0, FRONT], Renderer(reseeded).image(0, FRONT, *SIZE))


def test_the_label_map_does_not_change_the_image() -> None:
    renderer = Renderer(street())
    assert np.array_equal(renderer.image(0, FRONT, *SIZE),
                          renderer.image(0, FRONT, *SIZE, labels=True)[0])


@pytest.mark.parametrize('camera', [FRONT, TELE, REAR], ids=lambda camera: camera.name)
def test_any_resolution_shows_the_same(camera: MountedCamera) -> None:
    renderer = Renderer(street())
    shares = []
    for width, height, oversampling in ((320, 192, 1), (1005, 603, 1), (320, 192, 2)):
        image, labels = renderer.image(0, camera, width, height, labels=True,
                                       oversampling=oversampling)
        assert image.shape == (height, width, 3) and labels.shape == (height, width)
        shares.append(np.bincount(labels.ravel(), minlength=len(LABELS)) / labels.size)
    assert np.abs(shares[0] - shares[1]).max() < 0.02
    assert np.abs(shares[0] - shares[2]).max() < 0.02


def test_what_reaches_behind_the_camera_is_cut_there() -> None:
    around = [replace(TRUCK, x=x, y=y) for x in (-3.0, 0.0, 1.7, 3.0) for y in (-2.6, 2.6)]
    around += [Thing(kind, 1.76, 0.05, 0.3, (0.5, 0.6, 1.8), (90, 90, 90))
               for kind in ('pedestrian', 'tree', 'cone', 'sign', 'traffic_light', 'car')]
    house = Thing('building', 0.0, 12.0, 0.0, (80.0, 14.0, 9.0), (200, 180, 150))
    renderer = Renderer(drive(*around, fixed=(house,)))
    for camera in NOMINAL_RIG.values():
        assert renderer.image(0, camera, *SIZE).std() > 0
    # A wall along the way covers the left of the view and not its right.
    _, labels = both(drive(fixed=(house,)))
    wall = seen(labels, 'building')
    assert wall[60:96, :20].all() and not wall[:, SIZE[0] // 2:].any()


def test_the_road_runs_under_the_camera() -> None:
    wide = (Strip('asphalt', straight(0.0), 60.0),)
    for camera in NOMINAL_RIG.values():
        _, labels = both(drive(strips=wide), camera)
        assert seen(labels, 'asphalt')[-1].all(), camera.name
        assert seen(labels, 'sky')[0].all(), camera.name


def test_a_curved_strip_keeps_its_course() -> None:
    angle = np.linspace(0.0, math.pi / 2, 200)
    arc = np.stack([30.0 * np.sin(angle), 30.0 - 30.0 * np.cos(angle)], axis=1)
    _, labels = both(drive(strips=(Strip('asphalt', arc, 3.5),)), size=(960, 576))
    inside, outside = ([(r * math.sin(a), 30.0 - r * math.cos(a), 0.0)
                        for a in np.linspace(0.25, 1.0, 25) for r in radii]
                       for radii in ((28.7, 31.3), (27.7, 32.3)))
    for points, expected in ((inside, True), (outside, False)):
        pixels, _ = FRONT.project(np.array(points), 960, 576)
        columns, rows = pixels.astype(int).T
        shown = (columns >= 0) & (columns < 960) & (rows < 576)
        assert shown.sum() > 20
        assert (seen(labels, 'asphalt')[rows[shown], columns[shown]] == expected).mean() > 0.95


def test_dashes_are_painted_with_gaps() -> None:
    line = Strip('dashed_line', straight(0.0), 0.3, (3.0, 6.0))
    _, labels = both(drive(strips=(Strip('asphalt', straight(0.0), 8.0), line)), size=(960, 576))
    along = np.arange(-60.0, 40.0, 0.25)
    along = along[(along > 6.0) & (along < 20.0)]
    pixels, _ = FRONT.project(np.stack([along, 0 * along, 0 * along], axis=1), 960, 576)
    painted = seen(labels, 'marking')[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    phase = (along + 60.0) % 9.0
    assert painted[(phase > 0.5) & (phase < 2.5)].all()
    assert not painted[(phase > 3.5) & (phase < 8.5)].any()


def test_a_shadow_falls_away_from_the_sun() -> None:
    def darkest(azimuth: float) -> float:
        scenes = [both(drive(*things, look=replace(CLEAR, sun_azimuth=azimuth), strips=()))[0]
                  for things in ((replace(CAR, x=10.0),), ())]
        darker = (scenes[1].astype(int) - scenes[0]).sum(axis=2) > 40
        labels = both(drive(replace(CAR, x=10.0), strips=()))[1]
        return float(np.nonzero(darker & seen(labels, 'ground'))[1].mean())

    assert darkest(0.5 * math.pi) > SIZE[0] / 2 + 5 > SIZE[0] / 2 - 5 > darkest(-0.5 * math.pi)


def test_haze_swallows_what_is_far() -> None:
    truck = replace(TRUCK, x=80.0)
    tones = [image[seen(labels, 'vehicle')].mean(axis=0) for image, labels in (
        both(drive(truck, look=replace(CLEAR, haze_m=haze)), TELE) for haze in (1000.0, 60.0))]
    away = [np.abs(tone - CLEAR.haze).mean() for tone in tones]
    assert away[1] < 0.5 * away[0]


def test_brightness_rain_and_noise_follow_the_look() -> None:
    plain = both(drive())[0].astype(float)
    assert both(drive(look=replace(CLEAR, brightness=0.4)))[0].mean() < 0.6 * plain.mean()
    noise = both(drive(look=replace(CLEAR, noise=4.0)))[0] - plain
    assert noise[20:170].std() == pytest.approx(4.0, rel=0.1) and abs(noise.mean()) < 0.2
    rain = both(drive(look=replace(CLEAR, rain=0.8)))[0].astype(float)
    assert rain[:60].mean() < plain[:60].mean()
    assert (rain[1:60, 1:] - rain[:59, :-1]).std() > (plain[1:60, 1:] - plain[:59, :-1]).std() + 1


def test_the_ground_moves_under_the_ego() -> None:
    scenes = [both(drive(ego=(x, 0.0, 0.0), strips=()))[0][150:].astype(int) for x in (0.0, 1.0)]
    assert scenes[0].std(axis=(0, 1)).max() > 1.0
    assert np.abs(scenes[0] - scenes[1]).mean() > 1.0


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="kind 'spaceship': expected one of"):
        Renderer(drive(fixed=(replace(CAR, kind='spaceship'),)))
    with pytest.raises(IndexError, match='step 10: expected 0 to 9'):
        Renderer(drive()).image(10, FRONT, *SIZE)
