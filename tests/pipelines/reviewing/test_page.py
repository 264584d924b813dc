"""The page for the reviewer, as a browser runs it."""

import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from pipelines.reviewing.clips import ReviewClip, spectrogram
from pipelines.reviewing.page import page_item, write_page
from tests.browser import rendered, screenshot
from tests.conftest import tone

SPECIES = ("coqui", "</script><b>owl", '=2+2, "frog"')
N = 6


@pytest.fixture
def page(tmp_path: Path) -> Path:
    items = []
    for k in range(N):
        clip = ReviewClip(tone(1000.0 * (k % 3 + 1), 3.0, 32_000, seed=k), 32_000, 4.0)
        row = {
            "item": k + 1,
            "species": SPECIES[k % 3],
            "recording_id": f"ridge/{k}",
            **{"t_min": 5.0, "t_max": 6.0, "f_min": 500.0, "f_max": 4000.0, "score": 0.5},
            **{"site": "ridge", "time": "2024-03-15T05:30:05"},
        }
        items.append(page_item(row, clip))
    file = tmp_path / "review.html"
    write_page(file, "queue0", items)
    return file


def run_script(page: Path, script: str) -> dict:
    """Return what a script on the page assigns to `result`, as JSON."""
    copy = page.with_name("copy.html")
    shown = "document.body.dataset.result = JSON.stringify(result)"
    press = """const press = (...keys) => keys.forEach((key) =>
        document.dispatchEvent(new KeyboardEvent("keydown", { key })));"""
    text = page.read_text(encoding="utf-8")
    copy.write_text(
        text.replace("</body>", f"<script>{{ {press} {script}; {shown}; }}</script></body>"), encoding="utf-8"
    )
    found = re.search(r'data-result="([^"]*)"', rendered(copy.as_uri()))
    assert found
    return json.loads(unescape(found[1]))


def verdicts(text: str, folder: Path) -> pd.DataFrame:
    (folder / "verdicts.csv").write_text(text, encoding="utf-8")
    return pd.read_csv(folder / "verdicts.csv")


def test_keys_answer_move_and_undo(page: Path, tmp_path: Path) -> None:
    found = run_script(
        page,
        """press("y", "n", "U", "ArrowRight", "y", "z", "Backspace");
        press("ArrowLeft", "ArrowLeft", "ArrowLeft", "n");
        const result = { csv: csv(), position: state.position, progress: get("progress").textContent }""",
    )
    # y, n and u answer 1 to 3; 4 is passed over; y answers 5, z takes it back, Backspace takes back 3.
    # Three steps to the left lead from 3 to the first window, which "n" answers again.
    table = verdicts(found["csv"], tmp_path)
    assert table[["item", "verdict"]].to_numpy().tolist() == [[1, "no"], [2, "no"]]
    assert found["position"] == 2
    assert found["progress"] == "Window 3 of 6. Verified: 2 (0 yes, 2 no, 0 unsure)"


def test_buttons_do_what_keys_do(page: Path, tmp_path: Path) -> None:
    found = run_script(
        page,
        """for (const id of ["yes", "no", "next", "unsure", "undo", "previous"]) get(id).click();
        const result = { csv: csv(), position: state.position }""",
    )
    assert verdicts(found["csv"], tmp_path)["verdict"].tolist() == ["yes", "no"]
    assert found["position"] == 2


def test_export_has_every_verdict_and_names_as_in_the_queue(page: Path, tmp_path: Path) -> None:
    found = run_script(page, 'press("y", "n", "u", "y", "n", "u"); const result = { csv: csv() }')
    table = verdicts(found["csv"], tmp_path)
    assert table["verdict"].tolist() == ["yes", "no", "unsure"] * 2
    assert set(table["queue"]) == {"queue0"}
    assert table["recording_id"].tolist() == [f"ridge/{k}" for k in range(N)]
    names = [*SPECIES[:2], "'" + SPECIES[2]]  # the apostrophe keeps a spreadsheet from computing it
    assert table["species"].tolist() == names * 2
    assert pd.to_datetime(table["reviewed"]).notna().all()


def test_answers_are_kept_when_the_page_is_loaded_again(page: Path) -> None:
    found = run_script(
        page,
        """if (!sessionStorage.getItem("reloaded")) {
          sessionStorage.setItem("reloaded", "1");
          press("y", "n");
          location.reload();
        }
        const result = {
          progress: get("progress").textContent, csv: csv(), history: state.history.length,
        }""",
    )
    assert found["progress"] == "Window 3 of 6. Verified: 2 (1 yes, 1 no, 0 unsure)"
    assert found["csv"].count("\n") == 3
    assert found["history"] == 2  # so undo works, too


def test_page_needs_no_network_and_shows_names_as_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert text.count("</script>") == 2
    found = run_script(page, 'press("ArrowRight"); const result = { name: get("species").textContent }')
    assert found["name"] == SPECIES[1]


@pytest.mark.parametrize(("width", "height"), [(1100, 900), (500, 900)])
def test_page_fits_the_screen(page: Path, tmp_path: Path, width: int, height: int) -> None:
    found = run_script(
        page,
        """const result = {
          width: document.documentElement.scrollWidth, inner: [innerWidth, innerHeight],
          box: get("box").getBoundingClientRect(),
        frame: get("frame").getBoundingClientRect() }""",
    )
    assert found["width"] <= found["inner"][0]
    assert found["box"]["left"] == pytest.approx(found["frame"]["left"] + found["frame"]["width"] / 3, abs=3)
    assert found["box"]["width"] == pytest.approx(found["frame"]["width"] / 3, abs=3)
    file = tmp_path / "page.png"
    screenshot(page.as_uri(), file, width, height)
    assert file.stat().st_size > 10_000


def test_spectrogram_shows_a_tone_at_its_frequency() -> None:
    clip = ReviewClip(tone(4000, 3.0, 32_000), 32_000, 0.0)
    pixels = np.asarray(PIL.Image.open(io.BytesIO(spectrogram(clip))), float)
    row = pixels.mean(axis=1).argmin()  # loud is dark
    assert (1 - row / len(pixels)) * clip.top == pytest.approx(4000, abs=150)
