"""Signals that ask a program to end, worker processes that end with it, and how its threads share the processors.

Only programs set signal handlers and how threads wait (the command line, the trainer's entry point and workers), never
a host that imports the package.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import active_children, connection, get_context, parent_process, resource_tracker
from types import TracebackType
from typing import Any, NoReturn

from .files import remove_unfinished

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
REPEATED = 0.5  # seconds in which more signals are the same request: `timeout` and a closing terminal send several
PATIENCE = 10.0  # seconds for the way out of this process, then it ends at once
WORKER_PATIENCE = 3.0  # the same for a worker in a task
SENDING = 0.5  # seconds for a worker that may be sending a result: half of one would block the receiver for ever
_CONSOLE_CLOSES = (2, 5, 6)  # events of a Windows console: closed, logged off, shut down
_POSIX = os.name == "posix"
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # for GNU's OpenMP, and for LLVM's and Intel's
_WAITING = (*_PASSIVE, "GOMP_SPINCOUNT", "KMP_LIBRARY")  # by which a user says how idle threads wait


def wait_passively() -> None:
    """Let PyTorch's idle threads sleep, so that other programs have the processors; only for a process of our own.

    By default they spin until the others are done, and two runs at once on the same processors are ten times as slow.
    OpenMP reads its environment when PyTorch is imported: after that, or if the user has chosen how threads wait,
    nothing is changed.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _WAITING):
        os.environ.update(_PASSIVE)


def limit_threads(threads: int | None) -> None:
    """Let PyTorch and OpenCV compute in this many threads in this process; None leaves it to them."""
    if threads is not None:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)


@contextmanager
def same_scheduling() -> Iterator[None]:
    """Leave a library's code no other scheduling policy behind than it found.

    SVT-AV1, run by root as in many containers, makes the thread that opens it and its own threads real-time ones. All
    that this process then does, and every process that it starts, takes the processors away from the others.
    """
    if not hasattr(os, "sched_getscheduler"):  # Windows and macOS
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            for task in os.listdir("/proc/self/task"):
                with suppress(OSError):
                    os.sched_setscheduler(int(task), policy, priority)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. ``number`` is the signal's, ``status`` the exit status for it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.status = number, 128 + number  # as shells report it


class Request:
    """The first signal that asked this process to end, if there was one: ``number`` is 0 before."""

    def __init__(self, stop: Callable[[int], None]) -> None:
        self._stop, self._at = stop, 0.0
        self.number: int = 0
        self.lost = False

    def handle(self, number: int, frame: object) -> None:
        """Handle a signal, in the main thread."""
        if not self.number or self.lost:
            self.number, self.lost, self._at = self.number or number, False, time.monotonic()
            self._stop(self.number)
        elif time.monotonic() - self._at > REPEATED:
            end_now(number)

    def repeat(self) -> None:
        """Call ``stop`` once more in the main thread: the exception that it raised was lost."""
        self.lost = True
        _repeat_soon(signal.Signals(self.number))


def _repeat_soon(number: signal.Signals) -> None:
    """Handle a signal in the main thread again, when it has left the place where an exception gets lost."""

    def repeat() -> None:
        time.sleep(0.05)
        _thread.interrupt_main(number)

    _thread.start_new_thread(repeat, ())


@contextmanager
def on_first_signal(stop: Callable[[int], None]) -> Iterator[Request]:
    """Within the block, call ``stop(number)`` in the main thread for the first signal that asks this process to end.

    A second one removes unfinished files and ends the process at once. Ignored signals (``nohup``) stay ignored. The
    handlers are put back afterwards; outside the main thread none is set.
    """
    request, before = Request(stop), {}
    if threading.current_thread() is threading.main_thread():
        before = _set_handlers(request.handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _set_handlers(handle: Callable[[int, Any], None]) -> dict[int, Any]:
    """Set a handler for every signal that is not ignored; returns what they had before."""
    found = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handle)
    return before


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the block, the first signal ends the worker processes and raises Stopped in the main thread.

    Files that are unfinished when Stopped leaves the block are removed. If it does not leave the block within PATIENCE
    seconds, the process ends at once.
    """
    over, hook = threading.Event(), sys.unraisablehook

    def stop(number: int) -> None:
        _thread.start_new_thread(_end_after, (PATIENCE, number, over))
        if _POSIX:  # a console of Windows tells the workers itself
            end_workers()
        raise Stopped(number)

    def unraisable(arguments: Any) -> None:  # where a __del__ or a callback raises, the exception is lost
        request.repeat() if isinstance(arguments.exc_value, Stopped) else hook(arguments)

    with on_first_signal(stop) as request, _console_closing(over):
        sys.unraisablehook = unraisable
        try:
            yield
        except BaseException as error:
            if not request.number:
                raise
            end_workers()
            remove_unfinished()
            if isinstance(error, Exception):  # a library turned Stopped into an error of its own
                raise Stopped(request.number) from error
            raise
        finally:
            over.set()
            sys.unraisablehook = hook


@contextmanager
def _console_closing(over: threading.Event) -> Iterator[None]:
    """On Windows, let the closing of the console count as SIGBREAK; the system waits about five seconds."""
    if sys.platform != "win32":
        yield
        return
    import ctypes

    @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
    def closing(event: int) -> int:
        if event not in _CONSOLE_CLOSES:
            return 0
        _thread.interrupt_main(signal.SIGBREAK)
        over.wait(4)
        return 1

    ctypes.windll.kernel32.SetConsoleCtrlHandler(closing, 1)
    try:
        yield
    finally:
        ctypes.windll.kernel32.SetConsoleCtrlHandler(closing, 0)


def end_workers() -> None:
    """Ask the worker processes of this process to end."""
    for process in active_children():
        process.terminate()


def end_now(number: int) -> NoReturn:
    """End this process and its workers at once, without any file left that is unfinished."""
    remove_unfinished()
    for process in active_children():
        process.terminate()
    with suppress(OSError):
        os.write(2, f"\ndiffused-heads: ended at once by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


def _end_after(seconds: float, number: int, over: threading.Event) -> None:
    if over.wait(WORKER_PATIENCE + 1):
        return
    for process in active_children():  # those that are still starting, and hold the signal back
        process.kill()
    if not over.wait(seconds - WORKER_PATIENCE - 1):
        end_now(number)


class WorkerPool(ProcessPoolExecutor):
    """Worker processes that start anew ("spawn"), with one thread each, and end when this process does.

    A worker that is told to end leaves its task as by an exception, so that no unfinished file stays. If the pool's
    block ends by an exception, tasks that have not started are cancelled. initializer: called in each new worker.
    """

    def __init__(self, workers: int, initializer: Callable[[], None] | None = None) -> None:
        with signals_held_back():
            super().__init__(workers, get_context("spawn"), _start_worker, (initializer,))

    def submit(self, function: Callable[..., Any], /, *args: Any, **settings: Any) -> Future[Any]:
        """Submit a task; no signal can interrupt the start of a worker halfway."""
        with signals_held_back():
            return super().submit(_perform, function, *args, **settings)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Within the block, no signal reaches this thread; processes that it starts hold signals back until they ask."""
    if not _POSIX:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    resource_tracker.ensure_running()  # it must live on when the group is sent SIGHUP; its start unblocks some signals
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Left(BaseException):
    """A worker was told to end."""


_task_runs = _leaving = False


def _start_worker(initializer: Callable[[], None] | None) -> None:
    import cv2

    wait_passively()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for PyTorch, if a task imports it
    cv2.setNumThreads(1)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    hook = sys.unraisablehook

    def unraisable(arguments: Any) -> None:
        _repeat_soon(signal.SIGTERM) if isinstance(arguments.exc_value, _Left) else hook(arguments)

    sys.unraisablehook = unraisable
    _set_handlers(_leave)
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if initializer is not None:
        initializer()


def _leave(number: int, frame: object) -> None:
    global _leaving
    _leaving = True
    _thread.start_new_thread(_end_worker_after, (WORKER_PATIENCE if _task_runs else SENDING, 128 + number))
    if _task_runs:
        raise _Left


def _end_worker_after(seconds: float, status: int) -> NoReturn:
    time.sleep(seconds)
    remove_unfinished()
    os._exit(status)


def _end_with(sentinel: Any) -> None:
    """End this worker when its parent has ended."""
    connection.wait([sentinel])
    if _task_runs:
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(WORKER_PATIENCE)
    remove_unfinished()
    os._exit(1)


def _perform(function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """Call a task's function in a worker; if the worker is told to end, it does so after the way out."""
    global _task_runs
    _task_runs = True
    try:
        if _leaving:
            raise _Left
        return function(*args, **settings)
    except _Left:
        remove_unfinished()
        os._exit(128 + signal.SIGTERM)
    finally:
        _task_runs = False
