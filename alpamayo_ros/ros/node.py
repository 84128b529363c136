"""The lifecycle node: wiring of topics, parameters, transitions. Nothing is computed here."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nav_msgs.msg import Odometry
from rclpy._rclpy_pybind11 import RCLError
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from alpamayo_ros.alignment import ODOMETRY
from alpamayo_ros.errors import AlpamayoError
from alpamayo_ros.ros.conversions import stamp_to_ns
from alpamayo_ros.ros.diagnostics import DiagnosticsThread
from alpamayo_ros.ros.health import RECENT_S, Health
from alpamayo_ros.ros.loading import give_memory_back, load_model
from alpamayo_ros.ros.node_settings import NodeSettings
from alpamayo_ros.ros.overlay import OverlayPublisher
from alpamayo_ros.ros.parameters import Parameters
from alpamayo_ros.ros.plan_info import ModelIdentity
from alpamayo_ros.ros.publishing import PlanPublisher
from alpamayo_ros.ros.session import Session
from alpamayo_ros.ros.topics import NAVIGATION, NODE_NAME, input_topics
from alpamayo_ros.ros.worker import Finished

if TYPE_CHECKING:
    from alpamayo_ros.planner import Planner

# One message is taken per turn of the executor, so odometry must be able to wait out a large image.
_IMAGE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_ODOMETRY_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_NAVIGATION_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                             durability=DurabilityPolicy.TRANSIENT_LOCAL)
_CLOCK_JITTER = Duration(seconds=-0.1)

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE
_ERROR = TransitionCallbackReturn.ERROR


def _transition(name: str, on_exception: TransitionCallbackReturn):
    """rclpy drops what a transition raises; this says it, in the log and in /diagnostics."""
    def decorate(method: Callable[[AlpamayoNode, LifecycleState], None]):
        @functools.wraps(method)
        def run(self: AlpamayoNode, state: LifecycleState) -> TransitionCallbackReturn:
            try:
                method(self, state)
                return _SUCCESS
            except Exception as error:
                known = isinstance(error, (AlpamayoError, ValueError))
                text = str(error) if known else f'{type(error).__name__}: {error}'
            # Behind the except: until then the exception holds every frame, and what was loaded.
            self.transition_failed(f'{name} failed: {text}')
            return on_exception
        return run
    return decorate


class AlpamayoNode(LifecycleNode):
    """The planner as a managed node. ``start`` begins; ``close`` ends, from any state."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self._stopping = threading.Event()
        self._transitions = threading.Lock()
        self._settings: NodeSettings | None = None
        self._planner: Planner | None = None
        self._identity: ModelIdentity | None = None
        self._publisher: PlanPublisher | None = None
        self._overlay: OverlayPublisher | None = None
        self._session: Session | None = None
        self._inputs: list = []
        self._navigation: str | None = None
        self._sequence = 0
        self._health = Health(
            self.get_fully_qualified_name().lstrip('/'), self.get_logger().warning)
        self._declared = Parameters(self, self._why_locked)
        for warning in self._declared.warnings:
            self.get_logger().warning(warning)
        self._health.warn(self._declared.warnings)
        self._diagnostics = DiagnosticsThread(self, self._health.statuses)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=_CLOCK_JITTER),
            post_callback=self._on_time_jump)
        self._guard_change_state()

    def start(self) -> None:
        """Begin diagnostics and, with autostart, configure and activate; returns at once."""
        self._diagnostics.start()
        if self._declared.value('autostart'):
            threading.Thread(target=self._autostart, name='autostart', daemon=True).start()

    def request_stop(self) -> None:
        """Make loading and planning end soon; returns at once. For the end of the process."""
        self._stopping.set()
        session = self._session
        if session is not None:
            session.request_stop()

    def close(self) -> None:
        """Shut down from whatever state, give everything back. The executor no longer spins."""
        self.request_stop()
        with self._transitions:
            try:
                self.trigger_shutdown()
            except RCLError:
                self.get_logger().debug('already finalized')
        self._diagnostics.close()
        self._jump_handle.unregister()
        self.destroy_node()

    def transition_failed(self, text: str) -> None:
        """Log and show why a transition failed, and give back what it may have taken."""
        self.get_logger().error(text)
        self._health.model_failed(text)
        self._give_memory_back()

    # Transitions

    @_transition('configure', _FAILURE)
    def on_configure(self, state: LifecycleState) -> None:
        try:
            self._settings = self._declared.settings()
            self._load()
            self._publisher = PlanPublisher(self, self._settings)
            if self._settings.overlay is not None:
                self._overlay = OverlayPublisher(self, self._settings)
            self._subscribe(self._settings)
        except BaseException:
            self._release()
            raise
        self._show('inactive')

    @_transition('activate', _FAILURE)
    def on_activate(self, state: LifecycleState) -> None:
        try:
            if self._planner is None:
                self._load()
            super().on_activate(state)
            self._health.activated(self._settings.max_input_age_s, self._settings.max_plan_age_s,
                                   self._settings.plan_period_s)
            planner = self._planner
            self._session = Session(
                self._settings, planner, self._health,
                now_ns=lambda: self.get_clock().now().nanoseconds,
                navigation=lambda: self._navigation if planner.accepts_navigation else None,
                publish=self._publish, error=self.get_logger().error)
        except BaseException:
            self._deactivate(state)
            raise
        self._show('active')

    @_transition('deactivate', _ERROR)
    def on_deactivate(self, state: LifecycleState) -> None:
        self._deactivate(state)
        self._show('inactive, model unloaded')

    @_transition('cleanup', _ERROR)
    def on_cleanup(self, state: LifecycleState) -> None:
        self._release()
        self._health.model('unconfigured')

    @_transition('shutdown', _ERROR)
    def on_shutdown(self, state: LifecycleState) -> None:
        self._deactivate(state)
        self._release()
        self._health.model('finalized')

    @_transition('error processing', _ERROR)
    def on_error(self, state: LifecycleState) -> None:
        self._deactivate(state)
        self._release()

    def _load(self) -> None:
        def report(text: str) -> None:
            self.get_logger().info(text)
            self._health.model(text)

        planner, identity = load_model(self._settings, self._stopping.is_set, report)
        if self._identity is not None and identity != self._identity:
            planner.close()
            raise AlpamayoError(
                f'the checkpoint has changed since configure: fingerprint is '
                f'{identity.checkpoint_fingerprint}, expected '
                f'{self._identity.checkpoint_fingerprint}; clean up and configure again')
        self._planner, self._identity = planner, identity

    def _deactivate(self, state: LifecycleState) -> None:
        """End planning and give the model's memory back; the topics stay."""
        with ExitStack() as stack:
            stack.callback(self._unload)
            stack.callback(self._health.deactivated)
            stack.callback(super().on_deactivate, state)
            session, self._session = self._session, None
            if session is not None:
                session.close()

    def _unload(self) -> None:
        planner, self._planner = self._planner, None
        if planner is not None:
            planner.close()
            self._give_memory_back()

    def _give_memory_back(self) -> None:
        # It takes a second on a busy computer, and the end of the process does the same.
        if not self._stopping.is_set():
            give_memory_back()

    def _release(self) -> None:
        """Back to unconfigured: model and topics away."""
        with ExitStack() as stack:
            stack.callback(self._unload)
            self._settings = self._identity = self._navigation = None
            for subscription in self._inputs:
                stack.callback(self.destroy_subscription, subscription)
            self._inputs = []
            publisher, self._publisher = self._publisher, None
            if publisher is not None:
                publisher.close()
            overlay, self._overlay = self._overlay, None
            if overlay is not None:
                overlay.close()
            self._health.open_streams({})

    def _show(self, state: str) -> None:
        self.get_logger().info(state)
        self._health.model(state, vars(self._identity))

    def _why_locked(self) -> str | None:
        if self._settings is None:
            return None
        return 'can be set only while the node is unconfigured; clean up first'

    def _autostart(self) -> None:
        with self._transitions:
            if self._stopping.is_set():
                return
            try:
                if self.trigger_configure() == _SUCCESS and not self._stopping.is_set():
                    self.trigger_activate()
            except RCLError as error:
                # Somebody else was faster, or the node is being shut down.
                self.get_logger().error(f'autostart ended: {error}')

    def _guard_change_state(self) -> None:
        """Answer wrong and simultaneous requests with failure: rclpy would end the executor."""
        service = self._service_change_state
        change_state = service.callback

        def guarded(request, response):
            wanted = request.transition.label or str(request.transition.id)
            if not self._transitions.acquire(blocking=False):
                self.get_logger().error(f'transition {wanted} refused: another one is in progress')
                response.success = False
                return response
            try:
                return change_state(request, response)
            except RCLError as error:
                self.get_logger().error(f'transition {wanted} refused: {error}')
                response.success = False
                return response
            finally:
                self._transitions.release()

        service.callback = guarded

    # Messages

    def _subscribe(self, settings: NodeSettings) -> None:
        kind = CompressedImage if settings.image_transport == 'compressed' else Image
        topics = input_topics(settings)
        self._health.open_streams(
            {name: self.resolve_topic_name(topic) for name, topic in topics.items()})
        for camera in settings.cameras:
            self._inputs.append(self.create_subscription(
                kind, topics[camera.name], functools.partial(self._on_image, camera.name),
                _IMAGE_QOS))
        self._inputs.append(self.create_subscription(
            Odometry, topics[ODOMETRY], self._on_odometry, _ODOMETRY_QOS))
        self._inputs.append(self.create_subscription(
            String, topics[NAVIGATION], self._on_navigation, _NAVIGATION_QOS))

    def _on_image(self, camera: str, message: CompressedImage | Image) -> None:
        self._health.stream(camera).arrived(stamp_to_ns(message.header.stamp))
        overlay, session = self._overlay, self._session
        if overlay is not None:
            overlay.image_arrived(camera, message.header)
        if session is not None:
            session.image(camera, message)

    def _on_odometry(self, message: Odometry) -> None:
        self._health.stream(ODOMETRY).arrived(stamp_to_ns(message.header.stamp))
        session = self._session
        if session is not None:
            session.odometry(message)

    def _on_navigation(self, message: String) -> None:
        stream = self._health.stream(NAVIGATION)
        stream.arrived(self.get_clock().now().nanoseconds)
        self._navigation = message.data.strip() or None
        stream.stored()
        planner = self._planner
        if self._navigation and planner is not None and not planner.accepts_navigation:
            stream.noted(f'{planner.model_type} takes no navigation; it is ignored')

    def _on_time_jump(self, jump: TimeJump) -> None:
        session = self._session
        if session is not None:
            self.get_logger().warning(
                f'the clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s: buffers cleared',
                throttle_duration_sec=RECENT_S)
            session.time_jumped()

    def _publish(self, finished: Finished, intake_ms: dict[str, float]) -> None:
        self._sequence += 1
        total_ms = self._publisher.publish(finished, self._identity, self._sequence, intake_ms)
        self._health.plan.published(
            self._sequence, finished.plan.t0_ns, total_ms, finished.plan.warnings)
        if self._overlay is not None:
            self._overlay.put(finished)
