import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msht.cohort.dataset import EpochSampler
from msht.training.batches import SharedBatches, SharedRows


def dealt(length: int, batch: int, parts: int, processes: int, epoch: int = 0) -> list[SharedBatches]:
    found = []
    for rank in range(processes):
        sampler = EpochSampler(length, seed=3)
        sampler.set_epoch(epoch)
        found.append(SharedBatches(sampler, batch, parts=parts, rank=rank, processes=processes))
    return found


@given(st.integers(2, 60), st.integers(1, 16), st.integers(1, 6), st.integers(1, 4))
def test_a_step_sees_the_same_images_however_they_are_dealt(
    length: int, batch: int, parts: int, processes: int
) -> None:
    if min(batch, length) < processes:
        return
    shared = dealt(length, batch, parts, processes)
    order = list(EpochSampler(length, seed=3))
    passes = [list(one) for one in shared]
    assert len({len(one) for one in passes}) == 1, "every process has the same number of parts"
    assert all(len(own) == len(one) for own, one in zip(passes, shared, strict=True))
    start, part = 0, 0
    for size in shared[0].sizes:
        count = shared[0].parts_of(size)
        seen = [key for own in passes for piece in own[part : part + count] for key in piece]
        assert sorted(seen) == sorted(order[start : start + size])
        start, part = start + size, part + count
    assert part == len(shared[0])
    left_out = length - sum(shared[0].sizes)
    assert left_out < max(2, processes)


@given(st.integers(4, 60), st.integers(2, 16), st.integers(1, 6), st.integers(1, 2))
def test_the_weights_of_the_parts_make_the_mean_over_the_batch(
    length: int, batch: int, parts: int, processes: int
) -> None:
    shared = dealt(length, batch, parts, processes)
    values = np.random.default_rng(0).normal(size=length)
    passes = [list(one) for one in shared]
    order = [index for _, index in EpochSampler(length, seed=3)]
    start, part = 0, 0
    for size in shared[0].sizes:
        count = shared[0].parts_of(size)
        total = 0.0
        for own, one in zip(passes, shared, strict=True):
            for number in range(part, part + count):
                piece = own[number]
                mean = np.mean([values[index] for _, index in piece])
                # As Lightning (divides by the parts) and DDP (averages the processes) do.
                total += mean * one.share(number, len(piece)) / one.parts / processes
        assert total == pytest.approx(np.mean(values[order[start : start + size]]))
        start, part = start + size, part + count


def test_a_pass_can_go_on_within_an_epoch_and_the_next_is_whole() -> None:
    (batches,) = dealt(20, 4, 2, 1)
    whole = list(batches)
    batches.skip = 3
    assert list(batches) == whole[3:]
    assert list(batches) == whole


def test_another_epoch_has_another_order_and_says_so() -> None:
    (first,), (second,) = dealt(20, 4, 1, 1), dealt(20, 4, 1, 1, epoch=1)
    assert [index for piece in first for _, index in piece] != [index for piece in second for _, index in piece]
    assert {epoch for piece in second for epoch, _ in piece} == {1}


@given(st.integers(1, 50), st.integers(1, 5))
def test_evaluation_takes_every_row_exactly_once(length: int, processes: int) -> None:
    rows = [list(SharedRows(length, rank=rank, processes=processes)) for rank in range(processes)]
    assert sorted(row for own in rows for row in own) == list(range(length))
    assert [len(own) for own in rows] == [
        len(SharedRows(length, rank=r, processes=processes)) for r in range(processes)
    ]
