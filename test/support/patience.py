"""Tests of what must keep up with real time, on machines that stand still now and then."""

from __future__ import annotations


def first_success(attempt, *choices):
    """What ``attempt(choice)`` gives for the first choice for which its exit code is 0.

    ``attempt`` returns (exit code, anything). A virtual machine may lose most of its time to its
    neighbours for half a minute; a tool that must keep up with cameras then rightly says that it
    could not. That it never can is told by the last attempt, whose result is returned as it is.
    """
    for choice in choices:
        code, result = attempt(choice)
        if code == 0:
            break
    return code, result
