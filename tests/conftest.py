"""What all tests need."""

from __future__ import annotations

import os

# Before torch is imported: threads that spin for work slow each other where tests run side by side.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
