"""The table of machines."""

from __future__ import annotations

import pytest

from sartor.errors import SettingError
from sartor.models.devices import device_named, devices


def test_every_device_is_there_once_with_figures_of_a_gpu() -> None:
    found = devices()
    assert len({device.name for device in found}) == len(found) > 10
    for device in found:
        assert 10 <= device.memory <= 300
        assert 50 <= device.tflops <= 5000
        assert 200 <= device.bandwidth <= 10_000
        assert 50 <= device.watts <= 1500


@pytest.mark.parametrize(
    ("said", "name", "memory"),
    [
        ("h100", "H100", 80),
        ("A100-80GB", "A100 80GB", 80),
        ("rtx 4090", "RTX 4090", 24),
        ("80GB", "GPU of 80 GB, like A100 80GB", 80),
        ("20 GB", "GPU of 20 GB, like RTX 3090", 20),
    ],
)
def test_a_device_is_found_by_its_name_or_its_memory(said: str, name: str, memory: float) -> None:
    found = device_named(said)
    assert (found.memory, found.name) == (memory, name)


@pytest.mark.parametrize("said", ["", "H1000", "9000GB", "0GB", "-80GB"])
def test_what_is_not_in_the_table_is_told_what_is(said: str) -> None:
    with pytest.raises(SettingError, match="there is no GPU"):
        device_named(said)
