"""Chromium, without a screen, for pages that people look at."""

import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--virtual-time-budget=10000"),
)


def chromium(*flags: str) -> str:
    """Return what Chromium prints; the test skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium: install Debian's package chromium")
    done = subprocess.run([program, *FLAGS, *flags], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def rendered(url: str) -> str:
    """Return the page at `url` as it stands once its scripts have run."""
    return chromium("--dump-dom", url)


def screenshot(url: str, file: Path, width: int, height: int) -> None:
    """Write a picture of the page at `url`."""
    chromium(f"--window-size={width},{height}", f"--screenshot={file}", url)
