"""The ring of decoded images."""

import threading

import numpy as np
import torch

from ultralytics.data.cache.ring import DecodeBuffer


def image_of(value: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_images_come_back_until_their_slot_is_needed() -> None:
    buffer = DecodeBuffer(4, 8, 3)
    assert buffer.get(0, 0) is None
    for position in range(6):
        kept = buffer.put(0, position, image_of(position, 2 + position), index=10 + position)
        assert (kept == position).all() and kept.shape == (2 + position, 8, 3)
    assert [buffer.get(0, position) is None for position in range(6)] == [True, True, False, False, False, False]
    img, index = buffer.get(0, 5)
    assert index == 15 and (img == 5).all() and img.shape == (7, 8, 3)


def test_a_position_of_another_epoch_is_another_image() -> None:
    buffer = DecodeBuffer(4, 8, 3)
    buffer.put(3, 1, image_of(1), 0)
    assert buffer.get(4, 1) is None and buffer.get(3, 1) is not None


def test_views_are_not_copies_and_the_memory_is_shared_with_a_lock() -> None:
    buffer = DecodeBuffer(2, 8, 3, threading.Lock())
    assert buffer.pixels.is_shared() and buffer.entries.is_shared()
    view = buffer.put(0, 0, image_of(7), 0)
    assert np.shares_memory(view, buffer.pixels.numpy()) and np.shares_memory(buffer.get(0, 0)[0], view)
    assert buffer.pixels.nbytes == 2 * 8 * 8 * 3
    assert torch.equal(buffer.entries[1], torch.full((5,), -1))
