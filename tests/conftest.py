"""What all tests need."""

from __future__ import annotations

import os

# Before torch is imported: threads that spin for work slow each other where tests run side by side.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
