"""What exists while the node is active: buffers, decoding threads, the planning thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nav_msgs.msg import Odometry
from sensor_msgs.msg import CompressedImage, Image

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.buffers import DROPPED, FrameBuffer, OdometryBuffer
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.ros.conversions import ego_state
from alpamayo_ros.ros.health import Health
from alpamayo_ros.ros.intake import Intake
from alpamayo_ros.ros.node_settings import OVERLAY_CAMERA, NodeSettings
from alpamayo_ros.ros.worker import Finished, PlanningThread, Timing

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner


class Session:
    """From activate to deactivate. Messages in, finished plans out through ``publish``.

    ``publish`` is called in the planning thread with the plan and the recent milliseconds of the
    intake. Everything is empty at the start: nothing older than the activation is planned from.
    """

    def __init__(self, settings: NodeSettings, planner: Planner, health: Health, *,
                 now_ns: Callable[[], int], navigation: Callable[[], str | None],
                 publish: Callable[[Finished, dict[str, float]], None],
                 error: Callable[[str], None]) -> None:
        alignment = settings.alignment
        self._settings, self._health = settings, health
        self._frames = {
            camera.name: FrameBuffer(camera, alignment.frame_horizon_ns,
                                     grid_ns=round(alignment.grid_s * 1e9))
            for camera in settings.cameras}
        self._odometry = OdometryBuffer(alignment.odometry_horizon_ns)
        self._planning = PlanningThread(
            planner, self._frames, self._odometry, alignment,
            Timing(settings.plan_period_s, settings.max_input_age_s, settings.max_plan_age_s),
            health=health.plan, now_ns=now_ns, navigation=navigation,
            publish=lambda finished: publish(finished, self._intake.timings_ms), error=error)
        self._intake = Intake(
            self._frames, {name: health.stream(name) for name in self._frames},
            planner.preprocessor, self._planning.notify, settings.decode_threads,
            previews={OVERLAY_CAMERA} if settings.overlay else ())

    def image(self, camera: str, message: CompressedImage | Image) -> None:
        """An image came; returns at once."""
        self._intake.put(camera, message)

    def odometry(self, message: Odometry) -> None:
        """An odometry message came."""
        health = self._health.stream(ODOMETRY)
        try:
            state = ego_state(message, odometry_frame=self._settings.odometry_frame,
                              base_frame=self._settings.base_frame)
        except AlpamayoError as error:
            health.refused(str(error))
            return
        note = self._odometry.add(state)
        if note and note.startswith(DROPPED):
            health.refused(note)
            return
        health.stored()
        if note:
            health.noted(note)
        self._planning.notify()

    def time_jumped(self) -> None:
        """The clock went back: what is buffered is of another time."""
        self._intake.clear()
        self._odometry.clear()
        self._planning.time_jumped()

    def request_stop(self) -> None:
        """Ask the plan in hand to stop; returns at once."""
        self._planning.request_stop()

    def close(self) -> None:
        """Stop and wait for every thread."""
        self._planning.request_stop()
        self._intake.close()
        self._planning.join()
