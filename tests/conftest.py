"""Several pytest processes at once (pytest-xdist) share the processors: each computes in one thread."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported
