"""The loop thread: coroutines run beside the caller and end with it."""

import asyncio
import gc
import multiprocessing
import threading
import time

import pytest

from lacy.remote import LoopThread


async def double(number: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return 2 * number


def threads() -> int:
    return sum(thread.name == "lacy-test" for thread in threading.enumerate())


def test_the_caller_goes_on_while_work_blocks_the_thread():
    async def block() -> str:
        time.sleep(0.2)
        return "done"

    with LoopThread() as loop_thread:
        begin = time.monotonic()
        blocked = loop_thread.submit(block())
        assert time.monotonic() - begin < 0.15 and not blocked.done()
        assert blocked.result(60) == "done"


def test_one_loop_serves_callers_with_loops_of_their_own():
    loops = set()

    async def note() -> None:
        loops.add(asyncio.get_running_loop())

    with LoopThread() as loop_thread:
        for _ in range(2):
            asyncio.run(loop_thread.run(note()))
        loop_thread.submit(note()).result(60)
        assert asyncio.run(loop_thread.run(double(21))) == 42
    assert len(loops) == 1


def test_a_cancelled_caller_cancels_its_work():
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop_thread.run(work()), 0.1)

    with LoopThread() as loop_thread:
        asyncio.run(impatient())
        assert ended.wait(60)


def test_closing_cancels_all_work_and_then_cleans_up():
    order = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            order.append("work")

    async def cleanup() -> None:
        order.append("cleanup")

    loop_thread = LoopThread(cleanup, "lacy-test")
    pending = loop_thread.submit(work())
    loop_thread.submit(double(1)).result(60)
    loop_thread.close()
    loop_thread.close()
    assert order == ["work", "cleanup"] and pending.cancelled() and not threads()
    with pytest.raises(RuntimeError, match="closed"):
        loop_thread.submit(double(1))
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(loop_thread.run(double(1)))


def test_without_work_there_is_no_thread():
    loop_thread = LoopThread(name="lacy-test")
    assert not threads()
    loop_thread.close()


def test_the_thread_of_a_forgotten_object_ends():
    loop_thread = LoopThread(name="lacy-test")
    assert loop_thread.submit(double(1)).result(60) == 2 and threads() == 1
    del loop_thread
    gc.collect()
    until = time.monotonic() + 60
    while threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert not threads()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_thread_of_its_own():
    with LoopThread() as loop_thread:
        assert loop_thread.submit(double(1)).result(60) == 2
        child = multiprocessing.get_context("fork").Process(
            target=lambda: exit(loop_thread.submit(double(3)).result(60))
        )
        child.start()
        child.join(60)
        assert child.exitcode == 6
