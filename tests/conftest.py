"""Several pytest processes at once (pytest-xdist) share the processors: each computes in one thread."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """pytest-xdist passes reports on as UTF-8, which captured names of files need not be."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
