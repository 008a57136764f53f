"""Many tasks on one processor, on several of this machine, or on a Ray cluster. A worker that dies takes no other task
with it.

Threads are for hosts whose main program must not be started again; processes are faster.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from ...diffused_heads_core.errors import DiffusedHeadsError

ENGINES = ("processes", "threads", "ray")
AHEAD = 2  # tasks that are handed out for each worker
Task, Result = TypeVar("Task"), TypeVar("Result")


class WorkerDied(Exception):
    """A task ended its process twice."""


def run(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None, engine: str = "processes"
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Pairs of task and result, as they are done. function: of a module, it is sent to other processes.

    A task whose process dies is tried once more on its own; then WorkerDied is its result. Exceptions of the function
    end the run. workers: processes or threads, or with Ray the tasks that run at once; by default all processors.
    Raises DiffusedHeadsError for an engine that is not there.
    """
    if engine not in ENGINES:
        raise DiffusedHeadsError(f"engine={engine!r}, expected one of {', '.join(ENGINES)}")
    if engine == "ray":
        yield from _on_ray(function, tasks, workers)
        return
    workers = min(workers or _processors(), len(tasks))
    if workers <= 1 or engine == "threads":
        yield from _here(function, list(tasks), workers)
    else:
        yield from _in_processes(function, list(tasks), workers)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(function: Callable[[Task], Result], tasks: list[Task], workers: int) -> Iterator[tuple[Task, Result]]:
    """In this process: one after the other, or in threads."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if workers <= 1:
            yield from ((task, function(task)) for task in tasks)
        else:
            with ThreadPoolExecutor(workers) as pool:
                yield from _cancelled(pool, function, tasks[::-1], {}, workers)
    finally:
        cv2.setNumThreads(threads)


def _alone(function: Callable[[Task], Result], task: Task) -> Result:
    """One task in a process of somebody else's."""
    ((_, result),) = _here(function, [task], 1)
    return result


def _in_processes(
    function: Callable[[Task], Result], tasks: list[Task], workers: int
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    waiting = tasks[::-1]
    while waiting:
        running: dict[Future[Result], Task] = {}
        try:
            with _pool(workers) as pool:
                yield from _cancelled(pool, function, waiting, running, AHEAD * workers)
        except BrokenProcessPool:
            yield from _one_by_one(function, list(running.values()))


def _cancelled(
    pool: Executor,
    function: Callable[[Task], Result],
    waiting: list[Task],
    running: dict[Future[Result], Task],
    ahead: int,
) -> Iterator[tuple[Task, Result]]:
    """``_drained``, but what has not begun never does where an error or the caller ends it."""
    try:
        yield from _drained(pool, function, waiting, running, ahead)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _drained(
    pool: Executor,
    function: Callable[[Task], Result],
    waiting: list[Task],
    running: dict[Future[Result], Task],
    ahead: int,
) -> Iterator[tuple[Task, Result]]:
    """Results of a pool that is kept busy; tasks leave ``waiting`` (last first) for ``running``, and that when they are
    done.
    """
    while waiting or running:
        while waiting and len(running) < ahead:
            running[pool.submit(function, waiting[-1])] = waiting[-1]
            waiting.pop()
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            result = done.result()
            yield running.pop(done), result


def _one_by_one(function: Callable[[Task], Result], tasks: list[Task]) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Results of tasks of which one has ended its process: each has one to itself, a new one where it ends it again."""
    while tasks:
        with _pool(1) as pool, suppress(BrokenProcessPool):
            while tasks:
                result = pool.submit(function, tasks[0]).result()
                yield tasks.pop(0), result
            return
        yield tasks.pop(0), WorkerDied()


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start)


def _start() -> None:
    """In a new process: one thread, and an end with the process that wanted it."""
    import cv2

    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: Any) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    try:
        import ray
    except ImportError as error:
        raise DiffusedHeadsError('engine="ray" needs the package ray: pip install "diffused-heads[ray]"') from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, **({} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}))
    workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    remote = ray.remote(num_cpus=1, max_retries=1)(_alone)
    waiting, running = list(tasks)[::-1], {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop()
                running[remote.remote(function, task)] = task
            (done,), _ = ray.wait(list(running))
            yield running.pop(done), _ray_result(ray, done)
    finally:
        if started:
            ray.shutdown()


def _ray_result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return WorkerDied()
