"""Tiny models are fastest on one thread, above all where several test runs share the machine."""

import torch

torch.set_num_threads(1)
