"""Closed forms behind the simulation, for figures that one can check with a pocket calculator."""

from __future__ import annotations

from lacy.edge.windows import DAY


def devices_of_equal_rate(units: float, unit_flops: float, device_flops: float) -> float:
    """Return how many devices have the same FLOP/s as a cluster.

    Args:
        units: number of accelerators.
        unit_flops: FLOP/s of each.
        device_flops: FLOP/s of a device, of the same kind (peak or sustained, same precision).
    """
    return units * unit_flops / device_flops


def training_flop(parameters: float, tokens: float) -> float:
    """Return the operations of a training: 6 per active parameter and token."""
    return 6.0 * parameters * tokens


def days_to_train(
    flop: float, devices: float, flops: float, used: float = 1.0, available: float = 1.0
) -> float:
    """Return the days of a training if nothing but computing takes time.

    Args:
        flop: operations of the training.
        devices: number of devices.
        flops: peak FLOP/s of each.
        used: share of the peak that training sustains.
        available: share of the day in which a device works.
    """
    return flop / (devices * flops * used * available) / DAY


def devices_to_train(
    flop: float, days: float, flops: float, used: float = 1.0, available: float = 1.0
) -> float:
    """Return how many devices a training takes within some days; see ``days_to_train``."""
    return days_to_train(flop, 1.0, flops, used, available) / days


def bytes_per_step(parameters: float, bits: float, steps: int = 1) -> float:
    """Return the bytes that a worker sends and receives per local step.

    Args:
        parameters: number of parameters.
        bits: bits per parameter of a message.
        steps: local steps between two exchanges.
    """
    return 2.0 * parameters * bits / 8.0 / steps


def fewer_bytes(steps: int, bits: float, synchronous_bits: float) -> float:
    """Return how many times fewer bytes rare and small updates take than one in every step."""
    return steps * synchronous_bits / bits
