"""Sentences of the driving world: what is written can be read, and stays small and causal."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from alpamayo_ros.world import reasoning
from alpamayo_ros.world.causes import CAUSES, LATERAL, LONGITUDINAL

TEXTS = reasoning.all_texts()
DETAILS = {'curve': {'side'}, 'pedestrian': {'side'}, 'cones': {'side'}, 'cut_in': {'what', 'side'},
           **dict.fromkeys(('slow_lead', 'braking_lead', 'standing_lead', 'blocked_lane'),
                           {'what'})}


def manoeuvres(cause: str) -> list[tuple[str, str]]:
    if cause == 'blocked_lane':
        return [('any', 'any')]
    across = {'junction': ('follow', 'turn_left', 'turn_right'),
              'cones': ('pass_left', 'pass_right', 'any')}.get(cause, ('follow',))
    return list(itertools.product([name for name in LONGITUDINAL if name != 'any'], across))


@pytest.mark.parametrize('cause', CAUSES)
def test_what_is_written_is_read(cause: str) -> None:
    rng = np.random.default_rng(0)
    known = set(TEXTS)
    for manoeuvre in manoeuvres(cause):
        for what, side in itertools.product(('car', 'van', 'truck', 'bus'), ('left', 'right')):
            for _ in range(12):
                text = reasoning.write(cause, manoeuvre, {'what': what, 'side': side}, rng)
                assert text in known
                assert reasoning.read(text) == reasoning.Reading(cause, manoeuvre), text
                said = reasoning.details(text, cause)
                assert said == {key: {'what': what, 'side': side}[key] for key in said}
                assert set(said) == DETAILS.get(cause, set()), text


def test_every_cause_has_several_wordings() -> None:
    by_cause: dict[str, set[str]] = {}
    for text in TEXTS:
        reading = reasoning.read(text)
        assert reading is not None and reading.cause in CAUSES
        assert reading.manoeuvre[0] in LONGITUDINAL and reading.manoeuvre[1] in LATERAL
        by_cause.setdefault(reading.cause, set()).add(text)
    assert set(by_cause) == set(CAUSES)
    assert min(map(len, by_cause.values())) >= 15


def test_texts_are_short_causal_sentences_of_few_words() -> None:
    words = {word for text in TEXTS for word in re.findall(r'[a-z]+', text.lower())}
    assert len(words) < 130
    for text in TEXTS:
        assert text[0].isupper() and text.endswith('.') and len(text.split()) <= 22
        assert re.search(r'\bso\b|\bbecause\b|^Since\b', text), text
        assert not re.search(r'\b(we|I|ego|history)\b', text), text


def test_mixtures_of_texts_are_read_by_their_words() -> None:
    mixed = 'The traffic light ahead is red, so slow down and turn left.'
    assert reasoning.read(mixed) == reasoning.Reading('red_light', ('slow', 'turn_left'))
    assert reasoning.read('the van ahead brakes so wait') == reasoning.Reading(
        'braking_lead', ('wait', 'follow'))
    assert reasoning.read('cones stand on the right side').manoeuvre[0] == 'any'


@pytest.mark.parametrize('text', ['', 'Turn left.', 'slow down and stop', 'zzz'])
def test_a_text_without_a_cause_reads_as_none(text: str) -> None:
    assert reasoning.read(text) is None


def test_unknown_causes_and_manoeuvres_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'fog'"):
        reasoning.write('fog', ('keep', 'follow'), {}, rng)
    with pytest.raises(ValueError, match='fly'):
        reasoning.write('curve', ('fly', 'follow'), {}, rng)


def test_instructions_name_their_way() -> None:
    rng = np.random.default_rng(1)
    texts = reasoning.navigation_texts()
    ways = [reasoning.navigation_way(text) for text in texts]
    assert {way: ways.count(way) for way in ('left', 'right', 'straight')} == {
        'left': 3, 'right': 3, 'straight': 3}
    for way in ('left', 'right', 'straight'):
        text = reasoning.navigation_text(way, rng)
        assert text in texts and reasoning.navigation_way(text) == way
    with pytest.raises(ValueError, match='Park here'):
        reasoning.navigation_way('Park here')
