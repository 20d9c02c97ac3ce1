"""The journey from Python, as the README shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_runs_as_it_stands(shop: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(code.strip().splitlines()) <= 10
    shop.rename(shop.with_name("demo"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shop.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] in ("zero-shot", "rag", "lora")
    assert {line.split()[0] for line in said[2:]} == {"zero-shot", "rag", "lora"}
