"""The report, as a person reads it, and the reasons in it."""

import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from features.data.dataset import load_dataset
from features.frames.spectral import mel_centres
from models.estimators.one_vs_rest_gbm import OneVsRestGBM
from pipelines.core.cli import training_parser
from pipelines.core.detector import GBMWindows, Recogniser
from pipelines.core.runs import RunError
from pipelines.core.task import load_task
from pipelines.core.training_windows import Examples
from pipelines.reporting import explain as reasons
from pipelines.reporting import page
from tests.browser import rendered, screenshot

SORT_BY_NAME = '<script>document.querySelectorAll("table.sortable th")[0].click();</script></body>'


@pytest.fixture(scope="module")
def report(trained: tuple[Path, Path]) -> Path:
    data, results = trained
    return page.write_page(results, load_dataset(data), 0, 2)


def test_it_is_one_file_that_asks_nothing_of_the_network(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert len(text) < 5_000_000
    for said in (
        "coqui",
        "owl",
        "frog",
        "blend",
        "Brier score",
        "white noise",
        "Surest and right",
        "threshold",
    ):
        assert said in text
    assert text.count("<img") >= 8
    assert "{{" not in text


def test_it_is_shown_wide_and_on_a_phone(report: Path, tmp_path: Path) -> None:
    for width in (1200, 400):
        screenshot(report.as_uri(), tmp_path / "page.png", width, 2000)
        picture = matplotlib.image.imread(tmp_path / "page.png")
        assert picture.shape[:2] == (2000, width)
        assert picture[..., :3].std() > 0.02  # it is not blank
        # Nothing but tables, which scroll on their own, is wider than a phone.
        assert (picture[100:, -4:, :3] > 0.9).mean() > 0.8


def test_its_table_sorts(report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    (tmp_path / "sorted.html").write_text(text.replace("</body>", SORT_BY_NAME))

    def species(html: str) -> list[str]:
        table = html[html.index('class="sortable"') :]
        return re.findall(r"<tr><td>(\w+)</td>", table[: table.index("</table>")])

    assert species(rendered(report.as_uri())) == ["coqui", "owl", "frog"]
    assert species(rendered((tmp_path / "sorted.html").as_uri())) == ["owl", "frog", "coqui"]


def test_without_a_run_there_is_no_report(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        page.write_page(tmp_path, load_dataset(small_dataset), 0, 1)


def test_reasons_are_named_and_add_up(trained: tuple[Path, Path]) -> None:
    gbm = page.gbm_of(trained[1])
    rng = np.random.default_rng(0)
    X = rng.normal(0, 0.5, (20, gbm.model.n_features_in_)).astype(np.float32)
    for k in range(3):
        P = gbm.model.predict_proba(X)[:, k]
        log_odds = np.log(P / (1 - P))
        added = gbm.model.contributions(X, k).sum(axis=1)
        np.testing.assert_allclose(log_odds - log_odds[0], added - added[0], atol=1e-6)
    np.testing.assert_allclose(gbm.model.importance().sum(axis=1), 1)
    assert gbm.descriptor.extents().shape == (gbm.model.n_features_in_, 2)
    assert reasons.in_words("s1_template_best", ("coqui", "owl")) == "owl: template best"
    assert reasons.in_words("band_3.00kHz_p90", ()) == "band 3.00kHz p90"


@pytest.mark.parametrize("frequency", [1200.0, 5000.0])
def test_a_narrow_call_is_explained_by_its_band(tmp_path: Path, frequency: float) -> None:
    """A species that calls at one frequency over noise, and another that sweeps elsewhere."""
    root, sr = tmp_path / "narrow", 32_000
    (root / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["recording_id,species_id,songtype_id,t_min,f_min,t_max,f_max"]
    t = np.arange(sr) / sr
    for k in range(24):
        y = 0.02 * rng.standard_normal(4 * sr)
        start = int(rng.uniform(0, 2.5) * sr)
        if k % 2:
            call = np.sin(2 * np.pi * (9_000 + 1_000 * t) * t)
            rows.append(f"r{k:02d},1,1,{start / sr},8000,{start / sr + 1},12000")
        else:
            call = np.sin(2 * np.pi * frequency * t) * (np.sin(2 * np.pi * 6 * t) > 0)
            # The box is far wider than the call: the band has to come from the sound.
            rows.append(f"r{k:02d},0,1,{start / sr},300,{start / sr + 1},7800")
        y[start : start + sr] += 0.1 * call
        soundfile.write(root / "train" / f"r{k:02d}.wav", y, sr)
    (root / "train_tp.csv").write_text("\n".join(rows) + "\n")
    args = training_parser("").parse_args(["--data", str(root), "--results", str(tmp_path / "results")])
    examples = Examples(load_task(args))
    model = OneVsRestGBM(n_estimators=60).fit(*examples.whole())
    gbm = GBMWindows(examples.descriptor, model)
    settings = examples.descriptor.settings
    found = reasons.deciding_frequency(reasons.importance_by_band(gbm), settings)[0]
    assert abs(found - frequency) <= 500
    assert np.diff(mel_centres(settings)).min() < 500  # else that would say nothing


def test_noise_is_counted_by_the_hour(trained: tuple[Path, Path]) -> None:
    data, results = trained
    recogniser = Recogniser.load(results / "blend")
    task = load_task(
        training_parser("").parse_args(["--data", str(data), "--results", str(results), "--folds", "3"])
    )
    kinds = page.noises(task.store, task.dataset, 0)
    assert [len(parts) for parts in kinds.values()] == [10, 10, 1]  # six recordings give 12 quiet seconds
    everything = np.zeros(3)
    recogniser.thresholds.precision[page.DEFAULT_PRECISION][:] = everything
    alarms = page.false_alarms(recogniser, kinds, 2)
    assert (alarms["detections per hour"] >= 60 * 3).all()  # each species in each minute
    assert set(alarms["species below their threshold"]) == {"0 of 3"}
    recogniser.thresholds.precision[page.DEFAULT_PRECISION][:] = everything + 1.01
    assert (page.false_alarms(recogniser, kinds, 2)["detections per hour"] == 0).all()
