"""Blocks of keys and values: every answer keeps its own, whoever comes and goes."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import torch

from sartor.models.packed_blocks import WASTE, Block, laid_out
from sartor.models.packed_reading import Reading
from sartor.models.prefix_tree import Leaf

KINDS, WIDTH, LAYERS = 2, 4, 3


def read(lengths: list[int], dtype: torch.dtype, first: int = 0) -> Reading:
    """Prompts of these lengths, read with keys and values by chance."""
    reading = Reading([Leaf(first + i, (7,) * n, ()) for i, n in enumerate(lengths)])
    shape = (KINDS, sum(lengths), WIDTH)
    reading.keys = [torch.randn(shape).to(dtype) for _ in range(LAYERS)]
    reading.values = [torch.randn(shape).to(dtype) for _ in range(LAYERS)]
    return reading


def kept(held: list[Reading | Block]) -> dict[int, list[torch.Tensor]]:
    """Keys and values of every answer, by layer."""
    return {
        part.leaf.row: [
            tensor.clone()
            for layer in range(LAYERS)
            for tensor in part.of.own(part.place, layer)
        ]
        for rows in held
        for part in rows.parts()
    }  # fmt: skip


def write(blocks: list[Block], expected: dict[int, list[torch.Tensor]]) -> None:
    """A token by chance after every answer, here and in what is expected."""
    for block in blocks:
        block.advance()
        for layer in range(LAYERS):
            shape = (len(block), KINDS, WIDTH)
            keys, values = (torch.randn(shape).to(block.keys[0].dtype) for _ in range(2))
            block.write(layer, keys, values)
            for i, leaf in enumerate(block.leaves):
                for place, new in ((2 * layer, keys[i]), (2 * layer + 1, values[i])):
                    known = expected[leaf.row][place]
                    expected[leaf.row][place] = torch.cat([known, new[:, None]], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_answer_keeps_its_keys_and_values_while_others_come_and_go(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    draw = random.Random(0)
    held: list[Reading | Block] = []
    expected: dict[int, list[torch.Tensor]] = {}
    for turn in range(4):
        arrived = read([draw.randrange(1, 90) for _ in range(6)], dtype, first=6 * turn)
        expected |= kept([arrived])
        held = [*held, arrived]
        for rows in held:  # one of each leaves
            place = draw.randrange(len(rows))
            del expected[rows.leaves[place].row]
            rows.drop(place)
        blocks = laid_out([rows for rows in held if len(rows)])
        for _ in range(40):  # past the room of a block
            write(blocks, expected)
        held = [*blocks]
        found = kept(held)
        assert found.keys() == expected.keys()
        for row, tensors in expected.items():
            for one, other in zip(found[row], tensors, strict=True):
                assert torch.equal(one, other)


def test_blocks_stay_few_and_full() -> None:
    """Forty prompts that were read five at a time stand together, by length."""
    draw = random.Random(1)
    lengths = [draw.randrange(20, 500) for _ in range(40)]
    read_apart = [read(lengths[i : i + 5], torch.float32, i) for i in range(0, 40, 5)]
    blocks = laid_out(read_apart)
    assert len(blocks) <= 5
    for block in blocks:
        assert sum(block.pads) <= WASTE * len(block) * block.room


def test_what_was_taken_is_no_longer_held() -> None:
    reading = read([4, 6], torch.float32)
    laid_out([reading])
    assert all(tensor.numel() == 0 for tensor in (*reading.keys, *reading.values))


MOVING = """
import torch
from sartor.models.memory import PeakMemory, held
from sartor.models.packed_blocks import laid_out
from sartor.models.packed_reading import Reading
from sartor.models.prefix_tree import Leaf

del (large := [torch.ones(32 << 18)])[:]  # from here on the C library's heap has such sizes too
before, readings = held(), []
for row in range(24):
    reading = Reading([Leaf(row, (7,) * 500, ())])
    pairs = [[torch.ones(4, 500, 64) for _ in range(8)] for _ in range(2)]
    reading.keys, reading.values = pairs
    readings.append(reading)
read = held() - before
with PeakMemory(0.001) as memory:
    laid_out(readings)
print((memory.peak - before) / read)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library's heap is Linux's")
def test_moving_into_blocks_takes_little_more_than_what_is_moved() -> None:
    told = subprocess.run(
        [sys.executable, "-c", MOVING], capture_output=True, text=True, check=True
    ).stdout
    assert float(told) < 1.5
