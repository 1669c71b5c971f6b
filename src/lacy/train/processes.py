"""Train with several processes, as ``torchrun`` and ``accelerate launch`` start them.

Every process holds the whole model (``sharding`` splits it) and computes its part of the rows of
each batch; gradients are averaged (``DistributedDataParallel``, Li et al., arXiv 2006.15704). The
first process writes the files and prints. The launcher passes number and address of each process in
environment variables.

A batch is the same whatever the number of processes, and so is each of its micro-batches: every
micro-batch is split over all processes (``Processes.part``). If it does not split evenly, some
processes get one more row, and the others a row without targets, because gathered tensors need
equal shapes.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import PrefixStore, Store

from lacy.errors import LacyError
from lacy.train.sharding import make_mesh

if TYPE_CHECKING:
    from accelerate import Accelerator

    from lacy.train.config import TrainConfig

LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "socket timeout",
    "application timeout",
    "gloo",
    "nccl",
)
"""Parts of messages of torch, in lower case, if a process cannot reach another one."""


def process_count() -> int:
    """Return the number of processes of this run on all machines."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def first_process() -> bool:
    """True if this process is the only one or the first of a run."""
    return int(os.environ.get("RANK") or 0) == 0


def local_count() -> int:
    """Return the number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or process_count())


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, as one of them sees them.

    Args:
        device: the device of this process.
        accelerator: joins the processes; None if there is only one.
        mesh: torch's description of the processes, if they split the weights (``sharding``).
    """

    device: torch.device
    accelerator: Accelerator | None = None
    mesh: Any = None

    @classmethod
    def join(cls, config: TrainConfig) -> Processes:
        """Wait for the other processes, and return all of them with the device of this one.

        Raises:
            LacyError: E51, they cannot train together on this machine, or the launcher did not say
                how they find each other; E52, they do not come.
        """
        from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState

        on_cpu = config.device == "cpu"
        if process_count() == 1:
            device = PartialState(cpu=on_cpu).device
            _set_threads(config)
            return cls(device)
        _require_launcher()
        on_cpu = on_cpu or not torch.accelerator.is_available()
        require_devices(local_count(), None if on_cpu else torch.accelerator.device_count())
        threads = _set_threads(config)
        for name, value in (("OMP_NUM_THREADS", threads), ("LOCAL_WORLD_SIZE", local_count())):
            os.environ.setdefault(name, str(value))  # else accelerate would choose
        with naming_lost():
            if not torch.distributed.is_initialized():
                _join_group(on_cpu, timedelta(minutes=config.wait_minutes))
            accelerator = Accelerator(
                cpu=on_cpu,
                mixed_precision="no",  # the loop uses bfloat16 itself
                kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
            )
        _set_threads(config)
        device = accelerator.device
        if accelerator.num_processes != process_count():
            why = f"{device.type} devices do not exchange gradients here"
            raise LacyError("E51", why=why, do="train on the CPU: --device cpu")
        device = torch.device("cpu") if device.type == "cpu" else device
        with naming_lost():
            mesh = make_mesh(device, process_count()) if config.shard else None
        return cls(device, accelerator, mesh)

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return 0 if self.accelerator is None else int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """Number of processes."""
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def first(self) -> bool:
        """True if this process writes the files and prints."""
        return self.rank == 0

    def part(self, rows: int) -> tuple[NDArray[np.int64], int]:
        """Return which of ``rows`` rows this process computes, and how many to add to them.

        All processes have equally many rows with the added ones. The parts of all processes, one
        after the other, are the rows in order.
        """
        parts = np.array_split(np.arange(rows), self.count)
        return parts[self.rank], len(parts[0]) - len(parts[self.rank])

    def gather_rows(self, part_BT: Tensor, rows: int) -> Tensor:
        """Return ``rows`` rows in order, given the part of each process with the added rows."""
        if self.accelerator is None:
            return part_BT
        every_BT = cast(Tensor, self.accelerator.gather(part_BT))
        sizes = [len(part) for part in np.array_split(np.arange(rows), self.count)]
        parts = zip(every_BT.split(part_BT.shape[0]), sizes, strict=True)
        return torch.cat([part[:size] for part, size in parts])

    def any(self, *values: bool) -> list[bool]:
        """Return for each value if it is true in any process."""
        if self.accelerator is None:
            return list(values)
        mine = torch.tensor([values], device=self.device, dtype=torch.int32)
        every: Any = self.accelerator.gather(mine)
        return [bool(found) for found in every.sum(0).tolist()]

    def objects(self, value: Any) -> list[Any]:
        """Return a small object of every process."""
        if self.accelerator is None:
            return [value]
        from accelerate.utils import gather_object

        return cast("list[Any]", gather_object([value]))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Raise the error of one process in all of them when the block ends.

        Otherwise, the others would wait for a process that has ended. The block must not exchange
        anything with other processes.
        """
        if self.accelerator is None:
            yield
            return
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            failed = error
        if failed is not None and not isinstance(failed, LacyError):
            self.objects(LacyError("E52", why=f"one ended with {type(failed).__name__}"))
            raise failed
        for found in self.objects(failed):
            if found is not None:
                raise found

    def require_same(self, **values: Any) -> None:
        """Raise E51 if a value differs between the processes.

        Args:
            values: what is compared, by a name for the message; compared by ``repr``.
        """
        every = self.objects({name: repr(value) for name, value in values.items()})
        for name in values:
            seen = list(dict.fromkeys(one[name] for one in every))
            if len(seen) > 1:
                shown = " and ".join(text[:60] for text in seen[:2])
                what = name.replace("_", " ")
                raise LacyError(
                    "E51",
                    why=f"they disagree about the {what}: {shown}",
                    do="start the same command on equal machines, with the data and the run's"
                    " folder on a disk that all of them share",
                )


def require_devices(processes: int, devices: int | None) -> None:
    """Raise E51 if there are fewer GPUs than processes on a machine.

    Args:
        processes: number of processes of the run on this machine.
        devices: number of its GPUs; None if the run uses none.
    """
    if devices is not None and processes > devices:
        raise LacyError(
            "E51",
            why=f"{processes} processes were started on a machine with {devices} GPU(s), and two"
            " cannot share one",
            do=f"start {devices} with --nproc-per-node {devices}, or train on the CPU (--device"
            " cpu)",
        )


def rows_at_once(config: TrainConfig) -> int:
    """Return the number of rows of a micro-batch that one process computes."""
    return max(1, -(-config.batch_rows // (config.grad_accum * process_count())))


def require_rows(batch_rows: int, grad_accum: int, processes: int) -> None:
    """Raise E51 if a micro-batch has fewer rows than there are processes."""
    rows = batch_rows // grad_accum
    if rows < processes:
        raise LacyError(
            "E51",
            why=f"a micro-batch of {rows} row(s) (batch_rows {batch_rows}, grad_accum"
            f" {grad_accum}) cannot be split over {processes} processes",
            do=f"give --batch-rows {processes * grad_accum} or more, or start fewer processes",
        )


def leave_processes() -> None:
    """Leave the group of processes at the end of a command."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def naming_lost() -> Iterator[None]:
    """Convert errors of torch that mean that another process is gone to E52."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed.DistError is one
        if process_count() == 1 or not _is_lost(error):
            raise
        why = re.sub(
            r"\[/[^]]*\] ?", "", str(error).strip().splitlines()[0]
        )  # file and line in C++
        raise LacyError("E52", why=why.partition(". This ")[0][:200]) from error


def _is_lost(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(part in text for part in LOST)


def _join_group(on_cpu: bool, timeout: timedelta) -> None:
    """Let the processes of this start of the run find each other.

    ``torchrun`` keeps its store when it starts processes again, and there they would find the
    addresses of those that have ended (pytorch issue 135712). So each start has a name of its own.
    """
    device = "cpu"
    if not on_cpu:
        device = str(torch.accelerator.current_accelerator())
        torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, count = next(iter(torch.distributed.rendezvous("env://", timeout=timeout)))
    torch.distributed.init_process_group(
        torch.distributed.get_default_backend_for_device(device),
        store=PrefixStore(name_of_start(store, rank, count, timeout), store),
        rank=rank,
        world_size=count,
        timeout=timeout,
    )


def name_of_start(store: Store, rank: int, count: int, timeout: timedelta) -> str:
    """Agree on a new name with all processes that started together; earlier ones may have ended.

    Every process but the first leaves a random word and waits for an answer to it. The first one
    answers all words that it finds, until all have thanked for the name: a word of a process that
    has ended is answered, too, but nobody thanks.

    Raises:
        LacyError: E52, not all come in time.
    """
    word = os.urandom(8).hex()
    if rank:
        store.set(f"lacy/word/{rank}", word)
        store.wait([f"lacy/answer/{word}"], timeout)
        name = store.get(f"lacy/answer/{word}").decode()
        store.add(f"lacy/thanks/{name}", 1)
        return name
    until = time.monotonic() + timeout.total_seconds()
    while (thanks := store.add(f"lacy/thanks/{word}", 0)) < count - 1:
        if time.monotonic() > until:
            raise LacyError("E52", why=f"{thanks + 1} of {count} processes came within {timeout}")
        for other in range(1, count):
            if store.check([f"lacy/word/{other}"]):
                store.set(f"lacy/answer/{store.get(f'lacy/word/{other}').decode()}", word)
        time.sleep(0.02)
    return word


def _require_launcher() -> None:
    """Raise E51 if variables are missing without which a process would wait for ever."""
    for name, variable in (
        ("FSDP", "ACCELERATE_USE_FSDP"),
        ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"),
    ):
        if os.environ.get(variable, "false").lower() == "true":
            raise LacyError(
                "E51",
                why=f"accelerate is configured for {name}, but each process of lacy train holds the"
                " whole model",
                do="start them with torchrun, or turn it off: accelerate config; --shard splits the"
                " weights of the layers",
            )
    missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(n)]
    if missing:
        raise LacyError(
            "E51",
            why=f"WORLD_SIZE is {process_count()}, but {' and '.join(missing)} is not set",
            do="start them with: torchrun --nproc-per-node 2 -m lacy train ...; or, for a single"
            " process: unset WORLD_SIZE",
        )


def _set_threads(config: TrainConfig) -> int:
    """Set the threads of this process and return their number."""
    threads = config.threads
    if not threads and local_count() > 1 and not os.environ.get("OMP_NUM_THREADS"):
        threads = max(1, _cores() // local_count())
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def threads_note(config: TrainConfig) -> list[str]:
    """Return a sentence about the threads of several processes on a CPU."""
    share = max(1, _cores() // local_count())
    used = torch.get_num_threads()
    note = f"threads {used} per process, {local_count()} processes on {_cores()} cores"
    if not config.threads and used < share:
        note += f" (OMP_NUM_THREADS, which torchrun sets to 1; --threads {share} uses all cores)"
    return [note]


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
