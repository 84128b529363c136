"""Writing the reasoning: where it ends, what is in the cache then, what the text fields are."""

from __future__ import annotations

import pytest
import torch
from golden_data import R1, recorded

from alpamayo_ros.errors import PlanCancelled
from alpamayo_ros.model.decoding import Generated, measure, reasonings, text_between
from alpamayo_ros.model.runtime import Runtime
from alpamayo_ros.model.sampling import Sampling
from alpamayo_ros.types import ImagePatches

END = 522
GREEDY = Sampling(top_k=1)


@pytest.fixture(scope='module')
def runtime():
    return Runtime(R1)


@pytest.fixture(scope='module')
def prompt(runtime):
    """A golden prompt whose greedy reasoning ends after three tokens."""
    tensors = recorded(R1, 'greedy_turn')
    grids = [tuple(grid) for grid in tensors['image_grid_thw'].tolist()]
    parts = tensors['pixel_values'].split([rows * columns for _, rows, columns in grids])
    images = [ImagePatches(part, grid, (0, 0)) for part, grid in zip(parts, grids, strict=True)]
    return tensors['fused_ids'][0], grids, runtime.encode_images(images)


def prefill(runtime, prompt, groups=1, tail=24):
    return runtime.prefill(*prompt, groups=groups, tail=tail)


def write(runtime, prompt, sampling=GREEDY, limit=24, groups=1, seed=0, **options):
    prefilled = prefill(runtime, prompt, groups)
    generated = runtime.decode(prefilled, sampling, limit, torch.Generator().manual_seed(seed),
                               **options)
    return prefilled, generated


def test_it_ends_one_token_after_the_end_token(runtime, prompt):
    """So that the end token's keys and values are in the cache."""
    prefilled, generated = write(runtime, prompt)
    assert generated.tokens.shape == (1, 4) and generated.tokens[0, 2] == END
    assert generated.length.tolist() == [3] and generated.truncated.tolist() == [False]
    assert prefilled.cache.tail_length == 3
    context = runtime.context(prefilled, generated)
    assert context.tail_length.tolist() == [3]
    assert context.position.tolist() == [len(prompt[0]) + 3 + prefilled.rope_delta]


@pytest.mark.parametrize('limit, length, truncated', [(1, 1, True), (2, 2, True), (3, 3, False),
                                                      (4, 3, False)])
def test_the_limit(runtime, prompt, limit, length, truncated):
    prefilled, generated = write(runtime, prompt, limit=limit)
    assert generated.tokens.shape == (1, min(limit, 4))
    assert generated.length.tolist() == [length]
    assert generated.truncated.tolist() == [truncated]
    # The last token was not run; the position after it is used all the same.
    context = runtime.context(prefilled, generated)
    assert prefilled.cache.tail_length == min(limit, 4) - 1
    assert context.tail_length.tolist() == [min(length, min(limit, 4) - 1)]
    assert context.position.tolist() == [len(prompt[0]) + length + prefilled.rope_delta]


def test_groups_that_are_greedy_write_the_same(runtime, prompt):
    _, one = write(runtime, prompt)
    _, many = write(runtime, prompt, groups=4)
    assert torch.equal(many.tokens, one.tokens.expand(4, -1))


def test_it_runs_until_the_last_group_has_ended(runtime, prompt):
    sampling = Sampling(temperature=1.0, top_p=1.0)
    _, generated = write(runtime, prompt, sampling, groups=12, seed=1)
    assert len({tuple(row) for row in generated.tokens.tolist()}) > 1
    assert len(set(generated.length.tolist())) > 1
    if not generated.truncated.any():
        assert generated.tokens.shape[1] == int(generated.length.max()) + 1
    for row, length, cut in zip(generated.tokens.tolist(), generated.length.tolist(),
                                generated.truncated.tolist(), strict=True):
        assert cut == (END not in row)
        assert cut or row.index(END) == length - 1


def test_trajectory_tokens_are_never_written(runtime, prompt):
    """Even when the head wants nothing else."""
    model = runtime.model
    kept = model.vlm.lm_head.weight
    boosted = kept.clone()
    boosted[414:510] *= 50
    try:
        model.vlm.lm_head.weight = torch.nn.Parameter(boosted, requires_grad=False)
        for sampling in (GREEDY, Sampling(temperature=3.0, top_p=1.0)):
            _, generated = write(runtime, prompt, sampling, limit=12, groups=8)
            tokens = generated.tokens
            assert not ((tokens >= 414) & (tokens < 510)).any()
    finally:
        model.vlm.lm_head.weight = kept


def test_a_seed_means_its_reasoning(runtime, prompt):
    sampling = Sampling(temperature=1.0)
    first, again, other = (write(runtime, prompt, sampling, groups=3, seed=seed)[1].tokens.tolist()
                           for seed in (5, 5, 6))
    assert first == again != other


def test_forced_tokens_leave_the_cache_as_decoding_does(runtime, prompt):
    sampling = Sampling(temperature=1.0)
    prefilled, generated = write(runtime, prompt, sampling, limit=9, groups=3)
    by_decoding = [part.clone() for layer in range(4) for part in prefilled.cache.tail(layer)]
    again = prefill(runtime, prompt, groups=3)
    runtime.force(again, generated.tokens)
    assert again.cache.tail_length == generated.tokens.shape[1] - 1
    for layer in range(4):
        for index, part in enumerate(again.cache.tail(layer)):
            assert (part - by_decoding[2 * layer + index]).abs().max() < 2e-5


def test_forcing_a_single_token_runs_nothing(runtime, prompt):
    prefilled = prefill(runtime, prompt)
    runtime.force(prefilled, torch.tensor([[5]]))
    assert prefilled.cache.tail_length == 0


@pytest.mark.parametrize('after', [0, 1, 2])
def test_it_stops_between_tokens_when_asked_to(runtime, prompt, after):
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) > after
    with pytest.raises(PlanCancelled, match='while the reasoning was being written'):
        write(runtime, prompt, should_stop=should_stop)
    assert len(asked) == after + 1


def test_measure():
    tokens = torch.tensor([[5, END, 6, END], [5, 6, 7, 8], [END, 1, 2, 3], [1, 2, 3, END]])
    found = measure(tokens, END)
    assert found.length.tolist() == [2, 4, 1, 4]
    assert found.truncated.tolist() == [False, True, False, False]


@pytest.mark.parametrize('text, expected', [
    (' slow down <|cot_end|>', 'slow down'),
    ('a<|cot_start|> b <|cot_end|>c', 'b'),
    ('<|cot_start|>a<|cot_start|>b<|cot_end|>', 'b'),
    ('a<|cot_end|>b<|cot_end|>', 'a'),
    ('a<|cot_end|>b<|cot_start|>c', 'a'),
    ('<|cot_start|>never ends', ''), ('', ''), ('<|cot_end|>', ''), (' \n <|cot_end|>', '')])
def test_text_between(text, expected):
    assert text_between(text, 'cot') == expected


def test_text_fields(runtime):
    tokenizer = runtime.tokenizer
    text = ('<|cot_end|>', '<|meta_action_start|>stop<|meta_action_end|>', '<|traj_future_start|>',
            'junk<|cot_end|>')
    rows = [tokenizer.encode(' keep lane' + ''.join(text)), tokenizer.encode('yes<|answer_end|>no')]
    width = max(map(len, rows))
    rows = [row + [97] * (width - len(row)) for row in rows]
    found = reasonings(measure(torch.tensor(rows), END), tokenizer)
    assert (found[0].cot, found[0].meta_action, found[0].answer) == ('keep lane', 'stop', '')
    assert found[0].token_count == rows[0].index(END) + 1 and not found[0].truncated
    assert (found[1].cot, found[1].answer) == ('', 'yes')
    assert found[1].token_count == width and found[1].truncated


def test_text_after_the_end_is_not_read(runtime):
    tokens = torch.tensor([[97, END, *runtime.tokenizer.encode('<|cot_end|>')]])
    generated = Generated(tokens, torch.tensor([2]), torch.tensor([False]))
    assert reasonings(generated, runtime.tokenizer)[0].cot == ''
