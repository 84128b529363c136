"""The process around the node: one thread for callbacks, signals, a bounded end."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from alpamayo_ros.ros.node import AlpamayoNode
from alpamayo_ros.ros.parameter_table import PARAMETERS

GRACE_S = 4.0
"""Time a plan or a loading model has to stop after a signal, before the process leaves anyhow."""
REPEAT_S = 1.0
"""A signal that comes again so soon is the same one: ros2 launch and the terminal both send it."""
FORCED_EXIT = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def _keep_large_blocks() -> None:
    """Let glibc keep what large messages were stored in, instead of giving it back each time.

    Six raw 1080p streams are 360 MB/s, each frame copied three times on its way; mapping and
    faulting in these pages anew took more time than the copying.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(_M_MMAP_THRESHOLD, 32 * 2 ** 20)
    mallopt(_M_TRIM_THRESHOLD, 256 * 2 ** 20)


def _parse(args: Sequence[str]) -> None:
    lines = '\n'.join(f'  {spec.name}: {spec.default!r}\n      {spec.description} ({spec.expected})'
                      for spec in PARAMETERS)
    parser = argparse.ArgumentParser(
        prog='planner', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='The Alpamayo planner as a ROS 2 lifecycle node.\n\n'
                    'planner --ros-args -p checkpoint:=DIR [--params-file FILE] [-p NAME:=VALUE] '
                    '[-r FROM:=TO]',
        epilog=f'parameters, with defaults:\n{lines}')
    parser.parse_args(args)


def _spin(executor: SingleThreadedExecutor, node: AlpamayoNode, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            return
        except Exception:  # one bad callback must not end the others
            node.get_logger().error(f'a callback failed:\n{traceback.format_exc()}')


def _leave_after(seconds: float) -> None:
    """End the process if it is still there then, without waiting for any thread."""
    def leave() -> None:
        print(f'planner: still busy {seconds} s after the signal; leaving without waiting',
              file=sys.stderr, flush=True)
        os._exit(FORCED_EXIT)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _stopper(stop: threading.Event) -> Callable[[int, object], None]:
    """The handler of signals: the first one sets ``stop``, one that is not its echo ends all."""
    first_at: float | None = None

    def on_signal(number: int, frame: object) -> None:
        nonlocal first_at
        if first_at is None:
            first_at = time.monotonic()
            _leave_after(GRACE_S)
            stop.set()
        elif time.monotonic() - first_at > REPEAT_S:
            os._exit(FORCED_EXIT)  # asked twice: no more waiting

    return on_signal


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit code (0: clean, 1: forced, 2: wrong use)."""
    # Read when torch is loaded. Its idle threads would wait for each other by spinning, and take
    # the processor from those that decode: on shared cores a loop of torch took ten times as long.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    arguments = list(sys.argv if args is None else ['planner', *args])
    stop = threading.Event()
    _keep_large_blocks()

    on_signal = _stopper(stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        _parse(remove_ros_args(arguments)[1:])
        # rclpy's own handlers end the context at once; shutting down needs it a moment longer.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = AlpamayoNode()
    except Exception as error:
        print(f'planner: cannot start: {error}', file=sys.stderr)
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=_spin, args=(executor, node, stop), name='callbacks',
                                daemon=True)
    spinning.start()
    node.start()
    stop.wait()
    node.get_logger().info('stopping')
    node.request_stop()
    spinning.join()
    node.close()
    executor.shutdown()
    rclpy.shutdown()
    return 0
