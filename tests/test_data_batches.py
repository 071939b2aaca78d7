"""Batches partition the images; an epoch is a function of (seed, epoch) and can be resumed."""

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vae_exp.data import EpochBatches, batch_data, batch_x
from vae_exp.errors import UserError

BITS = 12


def numbered(count: int) -> Tensor:
    """Binary images [count, 12] that spell their own index."""
    return (torch.arange(count)[:, None] >> torch.arange(BITS) & 1).to(torch.uint8)


def numbers(images: Tensor) -> list[int]:
    """The indices that `images` [B, 12] spell."""
    return (images.long() << torch.arange(BITS)).sum(-1).tolist()


def epoch_of(batches: EpochBatches, epoch: int = 0) -> list[list[int]]:
    batches.set_epoch(epoch)
    return [numbers(batch) for batch in chain.from_iterable(batches)]


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


counts = st.integers(1, 60)
batch_sizes = st.integers(1, 25)
block_sizes = st.integers(1, 40)


@given(count=counts, batch_size=batch_sizes)
def test_batch_x_and_batch_data_cut_views_in_order(count: int, batch_size: int):
    x, y = torch.arange(3.0 * count).view(count, 3), torch.arange(count)
    cut = batch_x(x, batch_size)
    assert torch.equal(torch.cat(cut), x)
    assert {len(batch) for batch in cut[:-1]} <= {batch_size}
    assert 1 <= len(cut[-1]) <= batch_size
    assert all(batch.untyped_storage().data_ptr() == x.data_ptr() for batch in cut)
    for (images, labels), alone in zip(batch_data(x, y, batch_size), cut, strict=True):
        assert torch.equal(images, alone)
        assert torch.equal(images[:, 0], 3.0 * labels)


def test_batches_of_nothing_and_labels_of_other_images_are_refused():
    with pytest.raises(UserError, match="batch_size must be a positive integer, got 0"):
        batch_x(torch.zeros(3, 2), 0)
    with pytest.raises(UserError, match="got 2 for 3 images"):
        batch_data(torch.zeros(3, 2), torch.zeros(2), 1)


@given(
    count=counts,
    batch_size=batch_sizes,
    block_images=block_sizes,
    epoch=st.integers(0, 1000),
    shuffle=st.booleans(),
)
def test_an_epoch_shows_each_image_once(
    count: int, batch_size: int, block_images: int, epoch: int, shuffle: bool
):
    batches = EpochBatches(
        numbered(count), batch_size=batch_size, block_images=block_images, shuffle=shuffle
    )
    cut = epoch_of(batches, epoch)
    assert sorted(flat(cut)) == list(range(count))
    assert len(cut) == batches.batches
    blocks = list(batches)
    assert len(blocks) == len(batches)
    for block in blocks[:-1]:
        assert len(block.shares) == 1 or len(block.shares) * batch_size <= block_images
        assert (len(block.shares) + 1) * batch_size > block_images
        assert [share.batch for share in block.shares] == [len(batch) for batch in block]
    assert [len(batch) for batch in cut[:-1]] == [batch_size] * (len(cut) - 1)
    assert shuffle or flat(cut) == list(range(count))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    def order(seed: int, epoch: int, batch_size: int = 7) -> list[int]:
        batches = EpochBatches(numbered(500), batch_size=batch_size, seed=seed, shuffle=True)
        epoch_of(batches, epoch + 3)
        torch.rand(seed + epoch + 1)
        return flat(epoch_of(batches, epoch))

    assert order(0, 0) == order(0, 0) == order(0, 0, batch_size=100)
    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert list(range(500)) not in orders


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(EpochBatches(EVERY_GREY, batch_size=2, shuffle=True, redraw=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_float32_and_a_change_to_a_batch_changes_nothing_else():
    images = numbered(10)
    batches = EpochBatches(images, batch_size=4)
    for batch in chain.from_iterable(batches):
        assert batch.dtype == torch.float32
        batch.fill_(7)
    assert flat(epoch_of(batches)) == list(range(10))
    assert torch.equal(images, numbered(10))


EVERY_GREY = torch.arange(256, dtype=torch.uint8).expand(40, -1)


def test_dynamic_draws_are_a_function_of_seed_and_epoch_and_follow_the_intensities():
    def draw(seed: int, epoch: int, batch_size: int = 7) -> Tensor:
        batches = EpochBatches(EVERY_GREY, batch_size=batch_size, seed=seed, redraw=True)
        batches.set_epoch(epoch)
        return torch.cat([*chain.from_iterable(batches)])

    assert torch.equal(draw(0, 1), draw(0, 1, batch_size=40))
    assert not torch.equal(draw(0, 0), draw(0, 1))
    assert not torch.equal(draw(0, 0), draw(1, 0))
    mean = torch.stack([draw(0, epoch) for epoch in range(200)]).mean((0, 1))
    intensity = torch.arange(256) / 255
    assert ((mean - intensity).abs() <= 4.5 * (intensity * (1 - intensity) / 8000).sqrt()).all()


@settings(max_examples=60)
@given(
    data=st.data(),
    count=counts,
    batch_size=batch_sizes,
    block_images=block_sizes,
    redraw=st.booleans(),
)
def test_a_loader_resumes_with_the_next_batch_wherever_it_was_saved(
    data: st.DataObject, count: int, batch_size: int, block_images: int, redraw: bool
):
    def new() -> EpochBatches:
        images = numbered(count) * (200 if redraw else 1)
        return EpochBatches(
            images,
            batch_size=batch_size,
            block_images=block_images,
            shuffle=True,
            redraw=redraw,
        )

    whole = new()
    epochs = [epoch_of(whole, 0), epoch_of(whole, 1)]
    stop = data.draw(st.integers(0, len(whole)))
    stopped = new()
    stopped.set_epoch(0)
    iterator = iter(stopped)
    before = [numbers(batch) for _ in range(stop) for batch in next(iterator)]
    state = stopped.state_dict()

    resumed = new()
    resumed.load_state_dict(state)
    assert before == epochs[0][: stop * whole.batches_per_block]
    if stop < len(whole):
        assert before + epoch_of(resumed, 0) == epochs[0]
    assert epoch_of(resumed, 1) == epochs[1]


def test_an_epoch_left_early_does_not_shorten_the_next_or_its_own_repetition():
    batches = EpochBatches(numbered(10), batch_size=3, shuffle=True)
    for epoch in (0, 0, 1):
        batches.set_epoch(epoch)
        next(iter(batches))
        assert len(epoch_of(batches, epoch)) == 4


def test_the_epoch_may_be_set_after_the_iterator_is_made():
    batches = EpochBatches(numbered(50), batch_size=20, shuffle=True)
    iterator = iter(batches)
    batches.set_epoch(5)
    late = [numbers(batch) for block in iterator for batch in block]
    assert late == epoch_of(EpochBatches(numbered(50), batch_size=20, shuffle=True), 5)


def test_a_place_in_other_batches_is_refused():
    state = EpochBatches(numbered(10), batch_size=3).state_dict()
    with pytest.raises(
        UserError, match="saved with 4 blocks of batches an epoch and this one has 2"
    ):
        EpochBatches(numbered(10), batch_size=5).load_state_dict(state)


@given(
    world_size=st.integers(1, 5),
    share=st.integers(1, 6),
    full=st.integers(0, 4),
    tail=st.integers(0, 29),
    redraw=st.booleans(),
)
def test_the_parts_of_all_processes_make_up_each_batch(
    world_size: int, share: int, full: int, tail: int, redraw: bool
):
    batch_size = world_size * share
    tail = max(world_size, tail % batch_size)
    images = numbered(full * batch_size + tail) * (200 if redraw else 1)

    def of(rank: int, size: int) -> list[Tensor]:
        batches = EpochBatches(
            images,
            batch_size=batch_size,
            shuffle=True,
            redraw=redraw,
            rank=rank,
            world_size=size,
        )
        return [*chain.from_iterable(batches)]

    for whole, *parts in zip(
        of(0, 1), *(of(r, world_size) for r in range(world_size)), strict=True
    ):
        assert torch.equal(torch.cat(parts), whole)
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= (len(whole) != batch_size)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (9, 4)])
def test_a_batch_that_leaves_a_process_without_its_part_is_refused(count: int, batch_size: int):
    with pytest.raises(UserError, match="batch_size must be a multiple of the 2 processes"):
        EpochBatches(numbered(count), batch_size=batch_size, world_size=2)
    EpochBatches(numbered(count), batch_size=batch_size)
