"""Whether the reasoning and the path say the same: manoeuvres read from both, and compared."""

from __future__ import annotations

import re

import numpy as np

from alpamayo_ros.metrics.kinematics import motion

STOPPED_MPS = 0.5
SPEED_CHANGE_MPS, SPEED_CHANGE_SHARE = 1.0, 0.15
TURN_RAD = np.radians(15.0)
SIDEWAYS_M = 2.0
_END_S = 0.5

# A slower end and a halt are one intention seen over more or less time.
_AGREEING = {'stop': ('stop', 'slow'), 'slow': ('slow', 'stop'), 'keep': ('keep',),
             'accelerate': ('accelerate',)}

# Words about others: what stands there, or what somebody else does.
_OTHERS = re.compile(
    r'\bstop(?:ped|ping)?[ -]+(?:sign|line|light|car|vehicle|truck|bus|van|traffic|lead)\w*'
    r'|\b(?:slow|slower|slowing|braking|decelerating|accelerating|turning|merging|moving|waiting)'
    r'(?:[ -]moving)?[ -]+(?:lead|car|vehicle|truck|bus|van|traffic|cyclist|pedestrian)\w*'
    r'|\b(?:left|right)[ -]+(?:lane|side|of way|shoulder|curb|kerb)'
    r'|\bbrake lights?\b|\bspeed limits?\b')
_CONCLUSION = re.compile(r'\b(?:so|therefore|thus|hence)\b')
_CAUSE = re.compile(r'\b(?:because|since|due to|owing to|as (?:the|there|a|an|it|we)|given)\b')
_NOT = re.compile(r"\b(?:not|no|never|without|needn't|don't|avoid)(?: \w+){0,3} $")

_LONGITUDINAL = (
    ('stop', r'\bstop(?:s|ped|ping)?\b|\bhalt\w*|\bcom\w+ to (?:a |full |complete )*rest\b'
             r'|\bstandstill\b|\b(?:stay|remain)\w* (?:still|stationary)\b|\bwait(?:s|ing)?\b'),
    ('slow', r'\bslow(?:s|ed|ing)?\b|\bdecelerat\w*|\bbrak(?:e|es|ing)\b|\byield\w*|\bgiv\w+ way\b'
             r'|\b(?:reduc|lower)\w*(?: \w+){0,2} speed\b|\beas(?:e|es|ing) off\b'),
    ('accelerate', r'\baccelerat\w*|\bspeed(?:s|ing)? up\b|\bpick\w* up speed\b'
                   r'|\b(?:increas|gain)\w*(?: \w+){0,2} speed\b|\bdriv\w+ off\b|\bpull\w* away\b'),
    ('keep', r'\b(?:keep|keeps|keeping|maintain\w*|hold|holds|holding)(?: \w+){0,3} '
             r'(?:speed|pace|velocity)\b|\bcontinu\w* at\b|\bcruis\w*|\bsteady speed\b'))
_VERBS = (r'\b(?:turn|bear|steer|nudg|merg|mov|shift|veer|chang|pass|pull|swerv|overtak|go|edg'
          r'|curv)\w*\b[^.;,]{0,40}?')
_LATERAL = (('left', _VERBS + r'\bleft\b'), ('right', _VERBS + r'\bright\b'),
            ('straight', r'\bstraight\b'))


def manoeuvre(xyz: np.ndarray, yaw: np.ndarray, v0: float, dt_s: float
              ) -> tuple[str, str] | None:
    """Return what a path (T, 3) m with headings (T,) rad does; None when it is not finite.

    First ``stop``, ``slow``, ``accelerate`` or ``keep``, by the mean speed of its last 0.5 s; then
    ``left``, ``right`` or ``straight``, by its heading or its place at the end.
    """
    if not (np.isfinite(xyz).all() and np.isfinite(yaw).all() and np.isfinite(v0)):
        return None
    moved = motion(xyz, yaw, v0, dt_s)
    end = float(moved.speed[-max(1, round(_END_S / dt_s)):].mean())
    margin = max(SPEED_CHANGE_MPS, SPEED_CHANGE_SHARE * abs(v0))
    if end < STOPPED_MPS:
        along = 'stop'
    elif abs(end - v0) <= margin:
        along = 'keep'
    else:
        along = 'slow' if end < v0 else 'accelerate'
    turned, aside = float((moved.yaw_rate * dt_s).sum()), float(xyz[-1, 1])
    if abs(turned) >= TURN_RAD:
        return along, 'left' if turned > 0 else 'right'
    if abs(aside) >= SIDEWAYS_M:
        return along, 'left' if aside > 0 else 'right'
    return along, 'straight'


def read_text(text: str) -> tuple[str | None, str | None]:
    """Return what a reasoning says the vehicle does, in the words of ``manoeuvre``.

    None where it says nothing that can be read. What is said of others, causes and negations do
    not count; of several statements the first one does.
    """
    plain = _OTHERS.sub(' ', ' '.join(text.lower().split()))
    conclusions = list(_CONCLUSION.finditer(plain))
    if conclusions:
        plain = plain[conclusions[-1].end():]
    cause = _CAUSE.search(plain)
    if cause and plain[:cause.start()].strip():
        plain = plain[:cause.start()]
    return _first(plain, _LONGITUDINAL), _first(plain, _LATERAL)


def agreement(text: str, xyz: np.ndarray, yaw: np.ndarray, v0: float, dt_s: float
              ) -> dict[str, float | None]:
    """Return ``agreement_along``, ``agreement_across`` and ``agreement``: 1, 0, or None.

    None where the text says nothing readable; the last one is 1 when nothing that could be read
    disagrees. ``stop`` and ``slow`` agree with each other.
    """
    said, done = read_text(text), manoeuvre(xyz, yaw, v0, dt_s)
    along = across = None
    if done and said[0]:
        along = float(done[0] in _AGREEING[said[0]])
    if done and said[1]:
        across = float(done[1] == said[1])
    read = [value for value in (along, across) if value is not None]
    return {'agreement_along': along, 'agreement_across': across,
            'agreement': min(read) if read else None}


def _first(text: str, patterns: tuple[tuple[str, str], ...]) -> str | None:
    found = [(match.start(), word) for word, pattern in patterns
             for match in re.finditer(pattern, text) if not _NOT.search(text[:match.start()])]
    return min(found)[1] if found else None
