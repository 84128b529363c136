"""Tests of what must keep up with real time, on machines that stand still now and then."""

from __future__ import annotations


def once_it_keeps_up(attempt, *choices):
    """The result of ``attempt(choice)`` for the first choice that could keep up, or for the last.

    ``attempt`` returns (whether the tool itself said that it could not keep up, result). A virtual
    machine may lose most of its time to its neighbours for half a minute, and the tool then rightly
    says so. Only that is tried again: every other failure is the result, and so is the last.
    """
    for choice in choices:
        behind, result = attempt(choice)
        if not behind:
            break
    return result
