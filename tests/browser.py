"""Headless Chromium, for tests of pages as a browser renders them."""

import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--virtual-time-budget=10000"),
)


def chromium(*flags: str) -> str:
    """Return what Chromium prints; the test is skipped if Chromium is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed; install Debian's package chromium")
    done = subprocess.run([program, *FLAGS, *flags], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def rendered(url: str) -> str:
    """Return the HTML of the page at `url` after its scripts have run."""
    return chromium("--dump-dom", url)


def screenshot(url: str, file: Path, width: int, height: int) -> None:
    """Write a screenshot of the page at `url` to a PNG file."""
    chromium(f"--window-size={width},{height}", f"--screenshot={file}", url)
