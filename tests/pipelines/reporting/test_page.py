"""`report.html` as a browser renders it, and the choice of the runs that it shows."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from features.data.dataset import load_dataset
from features.data.identity import data_identity
from pipelines.core.detector import Detector
from pipelines.core.external import external_run
from pipelines.core.manifest import Manifest
from pipelines.core.run_config import BLEND, EXTERNAL, MEMBER
from pipelines.core.runs import Run, RunError, Scores, write_run
from pipelines.reporting import false_alarms
from pipelines.reporting.contents import best_run
from pipelines.reporting.page import write_page
from tests.browser import rendered, screenshot
from tests.conftest import run_command, sign_all

SORT_BY_NAME = '<script>document.querySelectorAll("table.sortable th")[0].click();</script></body>'


@pytest.fixture(autouse=True, scope="module")
def _little_noise() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(false_alarms, "NOISE_MINUTES", 1)
        yield


@pytest.fixture(scope="module")
def report(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, whole = trained
    results = shutil.copytree(whole, tmp_path_factory.mktemp("report") / "results")
    return write_page(results, load_dataset(data), seed=0, n_jobs=2)


def test_report_is_one_file_without_external_resources(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert len(text) < 5_000_000
    for expected in (
        "coqui",
        "owl",
        "frog",
        "blend",
        "Brier score",
        "white noise",
        "Most certain and right",
        "threshold",
        "Decisive columns of gbm",
    ):
        assert expected in text
    assert text.count("<img") >= 8
    assert "{{" not in text


def test_report_fits_wide_and_narrow_screens(report: Path, tmp_path: Path) -> None:
    for width in (1200, 400):
        screenshot(report.as_uri(), tmp_path / "page.png", width, 2000)
        picture = matplotlib.image.imread(tmp_path / "page.png")
        assert picture.shape[:2] == (2000, width)
        assert picture[..., :3].std() > 0.02  # not blank
        # On a narrow screen, only tables are wider than the screen, and they scroll separately.
        assert (picture[100:, -4:, :3] > 0.9).mean() > 0.8


def test_table_of_species_can_be_sorted(report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    (tmp_path / "sorted.html").write_text(text.replace("</body>", SORT_BY_NAME))

    def species(html: str) -> list[str]:
        table = html[html.index('class="sortable"') :]
        return re.findall(r"<tr><td>(\w+)</td>", table[: table.index("</table>")])

    assert species(rendered(report.as_uri())) == ["coqui", "owl", "frog"]
    assert species(rendered((tmp_path / "sorted.html").as_uri())) == ["owl", "frog", "coqui"]


def test_text_and_headings_are_in_words(report: Path) -> None:
    text = re.sub(
        r"<(pre|style|script).*?</\1>|<img[^>]*>", "", report.read_text(encoding="utf-8"), flags=re.S
    )
    headings = re.findall(r"<th>(.*?)</th>", text)
    assert "label ranking average precision (LRAP)" in headings
    assert "mean AUC over species" in headings
    assert not [heading for heading in headings if "_" in heading]
    assert not re.search(r"\boof\b|macro|\bAP\b|\bECE\b", text)
    assert "<td>out of fold</td>" in text


def test_report_without_labels_counts_false_reports_at_fp_boxes(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each recording has a TP box of one species and an FP box of another; the third one is unknown."""
    data, whole = trained
    root = shutil.copytree(data, tmp_path / "data")
    (root / "train_labels.csv").unlink()
    (root / "test_labels.csv").unlink()
    rows = [f"a{k},ridge,2024-03-15T05:30:00-04:00" for k in range(6)]
    (root / "recordings.csv").write_text("\n".join(["recording_id,site,start", *rows]) + "\n")
    results = shutil.copytree(whole, tmp_path / "results")
    sign_all(results, data_identity(load_dataset(root)))
    detector = Detector.load(results / "blend")
    P, threshold = Scores.load(results / "blend" / "oof.npz").scores, detector.thresholds.at()
    false = [sum(P[k, s] >= threshold[s] for k in range(6) if (k + 1) % 3 == s) for s in range(3)]
    per_hour = [n / (2 * 2.0 / 3600) for n in false]  # two recordings of 2 s

    text = write_page(results, load_dataset(root), seed=0, n_jobs=2).read_text(encoding="utf-8")
    assert f"<b>{sum(per_hour):.1f} false reports per hour of audio</b>" in text
    assert "a recording lasts 2 s on average" in text
    assert "3 of 3 species that are known to be absent from a recording, and rests on 0.00333 hours" in text
    assert "where a detector was wrong before, so the rate is pessimistic" in text
    for name, n, rate in zip(detector.species, false, per_hour, strict=True):
        cells = [
            f"<td>{name}</td>",
            *(f'<td class="number">{cell}</td>' for cell in ("0.001", n, f"{rate:.1f}")),
        ]
        assert "".join(cells) in text
    assert re.search(r", site ridge, 2024-03-15 05:30:0\d \(UTC-04:00\), from \d\.\d s to ", text)


def test_report_says_if_no_absence_is_known(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root = shutil.copytree(trained[0], tmp_path / "data")
    for file in ("train_labels.csv", "test_labels.csv", "train_fp.csv"):
        (root / file).unlink()
    results = shutil.copytree(trained[1], tmp_path / "results")
    sign_all(results, data_identity(load_dataset(root)))
    text = write_page(results, load_dataset(root), seed=0, n_jobs=2).read_text(encoding="utf-8")
    assert (
        "No species is known to be absent from a recording, so the rate of false reports is unknown" in text
    )
    assert "false reports per hour" not in text


def test_report_of_a_blend_with_external_scores(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = trained
    results = shutil.copytree(whole, tmp_path / "results")
    dataset = load_dataset(data)
    oof, test = (Scores.load(whole / "gbm" / f"{split}.npz") for split in ("oof", "test"))
    P = np.concatenate([oof.scores, test.scores])
    assert oof.fold is not None
    assert oof.holdout is not None
    run = external_run("other", P, dataset, fold=oof.fold, holdout=oof.holdout, metric="lrap", seed=0)
    write_run(results, dataset, run)
    assert run_command("blend", "--data", data, "--results", results).returncode == 0
    text = write_page(results, dataset, seed=0, n_jobs=2).read_text(encoding="utf-8")
    assert "<th>average precision of other, test</th>" in text
    assert "Detections of blend" not in text  # its external scores of noise are unknown
    assert "Detections of g" in text


def test_run_of_other_data_is_left_out(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, whole = trained
    results = shutil.copytree(whole, tmp_path / "results")
    manifest = Manifest.load(results / "gru")
    replace(manifest, data={**manifest.data, "TP boxes": "others"}).save(results / "gru")
    text = write_page(results, load_dataset(data), seed=0, n_jobs=2).read_text(encoding="utf-8")
    assert "gru" not in re.findall(r"<summary>(\w+)</summary>", text)
    warnings = capsys.readouterr().err
    assert "gru: belongs to other data (TP boxes of the data set have changed since)" in warnings
    assert "blend: a member has been trained again" in warnings


def test_report_without_a_run_is_an_error(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trained model to report on"):
        write_page(tmp_path, load_dataset(small_dataset), seed=0, n_jobs=1)


def test_blend_is_shown_or_else_the_best_trained_member() -> None:
    nothing = Scores(np.empty(0), np.empty(0), np.empty((0, 0)))

    def run(name: str, kind: str, lrap: float, macro_auc: float = 0.5) -> Run:
        oof = {"lrap": lrap, "macro_auc": macro_auc}
        return Run(name, {"kind": kind}, {"oof": oof}, nothing, None, Manifest({}, {}))

    runs = {
        "gbm": run("gbm", MEMBER, 0.6),
        "gru": run("gru", MEMBER, 0.7),
        "birdnet": run("birdnet", EXTERNAL, 0.9),
    }
    assert best_run(runs) == "gru"
    assert best_run({"gbm": run("gbm", MEMBER, 1.0, 0.8), "gru": run("gru", MEMBER, 1.0, 0.7)}) == "gbm"
    blend = run("blend", BLEND, 0.5)
    blend.config["members"] = {"gbm": {"weight": 0.3}, "birdnet": {"weight": 0.7}}
    assert best_run({**runs, "blend": blend}) == "blend"
    blend.config["members"] = {"gbm": {"weight": 0.0}, "birdnet": {"weight": 1.0}}
    assert best_run({**runs, "blend": blend}) == "gru"
