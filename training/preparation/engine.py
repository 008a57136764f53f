"""Runs many tasks in this process, in several processes or threads, or on a Ray cluster. If a process dies, only the
task that killed it fails.

Processes are faster than threads; threads are for hosts whose main program must not be imported again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, TypeVar

from ...diffused_heads_core.errors import DiffusedHeadsError
from ...diffused_heads_core.processes import WorkerPool

ENGINES = ("processes", "threads", "ray")
AHEAD = 2  # tasks per worker that are submitted at a time
Task, Result = TypeVar("Task"), TypeVar("Result")


class WorkerDied:
    """The result of a task that killed its process twice."""


def run(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None, engine: str = "processes"
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Pairs of task and result, in the order in which they finish; function must be picklable.

    A task whose process dies is tried once more, alone; its result is WorkerDied if that fails too. An exception of
    the function ends the run. workers: number of processes or threads, or with Ray of tasks that run at once; by
    default one per processor. Raises DiffusedHeadsError for an engine that is unknown or not installed.
    """
    if engine not in ENGINES:
        raise DiffusedHeadsError(f"engine={engine!r}, expected one of {', '.join(ENGINES)}")
    if engine == "ray":
        yield from _on_ray(function, tasks, workers)
        return
    workers = min(workers or _processors(), len(tasks))
    if workers <= 1 or engine == "threads":
        yield from _in_this_process(function, list(tasks), workers)
    else:
        yield from _in_processes(function, list(tasks), workers)


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_this_process(
    function: Callable[[Task], Result], tasks: list[Task], workers: int
) -> Iterator[tuple[Task, Result]]:
    """Results of tasks that run in this process, one after the other or in threads."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        if workers <= 1:
            yield from ((task, function(task)) for task in tasks)
        else:
            with ThreadPoolExecutor(workers) as pool:
                yield from _pooled(pool, function, tasks[::-1], {}, workers)
    finally:
        cv2.setNumThreads(threads)


def _one(function: Callable[[Task], Result], task: Task) -> Result:
    ((_, result),) = _in_this_process(function, [task], 1)
    return result


def _in_processes(
    function: Callable[[Task], Result], tasks: list[Task], workers: int
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    waiting = tasks[::-1]
    while waiting:
        running: dict[Future[Result], Task] = {}
        try:
            with WorkerPool(workers) as pool:
                yield from _pooled(pool, function, waiting, running, AHEAD * workers)
        except BrokenProcessPool:
            yield from _one_by_one(function, list(running.values()))


def _pooled(
    pool: Executor,
    function: Callable[[Task], Result],
    waiting: list[Task],
    running: dict[Future[Result], Task],
    ahead: int,
) -> Iterator[tuple[Task, Result]]:
    """Results from a pool with ``ahead`` tasks submitted at a time.

    Tasks move from ``waiting`` (last first) to ``running`` and leave it when they are done. If an error or the caller
    ends the run, tasks that have not started are cancelled.
    """
    try:
        while waiting or running:
            while waiting and len(running) < ahead:
                running[pool.submit(function, waiting[-1])] = waiting[-1]
                waiting.pop()
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                result = done.result()
                yield running.pop(done), result
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _one_by_one(function: Callable[[Task], Result], tasks: list[Task]) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Results of tasks of which one has killed its process: they run one by one, in a new process after every death."""
    while tasks:
        with WorkerPool(1) as pool, suppress(BrokenProcessPool):
            while tasks:
                result = pool.submit(function, tasks[0]).result()
                yield tasks.pop(0), result
            return
        yield tasks.pop(0), WorkerDied()


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
    remote = ray.remote(num_cpus=1, max_retries=1)(_one)
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
