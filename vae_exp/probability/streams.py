"""Random streams that are functions of a seed and of what they are for.

A stream is drawn on the processor and brought to where it is needed, so that an estimate finds the
same with a model on a GPU. Only training draws where it trains, since no step shall wait: the order
of the images, the noise and dropout are other numbers on a GPU than on a processor, and the same
on each GPU of a kind.
"""

import numpy as np
import torch


def stream_seed(seed: int, *keys: int | str) -> int:
    """A 64-bit seed for the stream that ``keys`` name, independent between different keys.

    Strings are hashed through their bytes, so the answer is the same in every process.
    """
    words = [key if isinstance(key, int) else int.from_bytes(key.encode()) for key in keys]
    # manual_seed of the CPU's Mersenne twister takes all 64 bits but the sign.
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for the stream that ``keys`` name: ``generator(seed, "order", epoch)``."""
    return torch.Generator(device=device).manual_seed(stream_seed(seed, *keys))
