"""Figures: colours of the models, and bars of the weights as they are drawn."""

from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from features.data.box import Box
from features.frames.spectral import SpectralSettings
from models.scoring.blending import Blend
from pipelines.reporting import plots

MEMBERS = ("birdnet", "gbm", "gru", "knn", "perch", "svm")
WEIGHTS = {
    2: (0.75, 0.25),
    3: (0.5, 0.2, 0.3),
    6: (0.3, 0.2, 0.2, 0.1, 0.1, 0.1),
}


def test_models_have_distinct_colours() -> None:
    found = plots.colours([f"m{k}" for k in range(len(plots.MEMBER_COLOURS))])
    assert len(set(found.values())) == len(found) == len(plots.MEMBER_COLOURS) + 4
    for name in ("prior", "background", "blend", "blend+prior"):
        assert found[name] == plots.FIXED_COLOURS[name]


def test_colours_do_not_depend_on_the_order_of_the_members() -> None:
    assert plots.colours(MEMBERS) == plots.colours(MEMBERS[::-1])


def test_more_members_than_colours_repeat_them() -> None:
    found = plots.colours([f"m{k}" for k in range(len(plots.MEMBER_COLOURS) + 1)])
    assert found["m8"] == found["m0"] == plots.MEMBER_COLOURS[0]


@pytest.mark.parametrize("n_members", [2, 3, 6])
def test_bars_are_as_long_as_the_weights(tmp_path: Path, n_members: int) -> None:
    names, weights = MEMBERS[:n_members], WEIGHTS[n_members]
    colour = plots.colours(names)
    blend = Blend("logit", weights)
    plots.plot_weights(blend, [blend] * 3, names, colour=colour, file=tmp_path / "weights.png")
    drawn = drawn_lengths(tmp_path / "weights.png", [colour[name] for name in names])
    np.testing.assert_allclose(drawn / drawn.sum(), weights, atol=0.02)


def test_member_of_weight_zero_has_no_bar(tmp_path: Path) -> None:
    colour = plots.colours(MEMBERS[:2])
    blend = Blend("logit", (1.0, 0.0))
    plots.plot_weights(blend, [blend], MEMBERS[:2], colour=colour, file=tmp_path / "weights.png")
    drawn = drawn_lengths(tmp_path / "weights.png", [colour[name] for name in MEMBERS[:2]])
    assert drawn[0] > 400
    assert drawn[1] == 0


def test_names_of_species_are_not_formulas(tmp_path: Path) -> None:
    names = pd.Index([r"$\frac$", "US$ 5", "$x$", "a_b^c", "<b>&"])
    ap = pd.DataFrame({"gbm": np.linspace(0.1, 0.9, 5), "blend": np.linspace(0.2, 1, 5)}, index=names)
    plots.plot_species(ap, "test", colour=plots.colours(["gbm"]), file=tmp_path / "species.png")
    assert (tmp_path / "species.png").stat().st_size > 1000


def test_example_shows_window_and_call_where_they_are(tmp_path: Path) -> None:
    """The excerpt is from 1 s to 5 s of a recording, the window from 3 s to 4 s, and a call from 1.5 s."""
    file = tmp_path / "example.png"
    plots.plot_example(
        np.zeros((200, 64)),
        settings=SpectralSettings(),
        start=1.0,
        window=Box(3.0, 4.0, 1000.0, 4000.0),
        calls=[Box(1.5, 2.5, 1000.0, 4000.0), Box(7.0, 8.0, 1000.0, 4000.0)],
        file=file,
    )
    picture = np.round(255 * matplotlib.image.imread(file)[..., :3]).astype(int)
    dark = (picture[..., :2] == 0).all(axis=2) & np.isin(picture[..., 2], (3, 4))  # lowest level
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    inside = picture[rows[1] : rows[-1], columns[1] : columns[-1]]
    for colour, extent in (([255, 255, 255], (0.125, 0.375)), ([0x78, 0xC6, 0x79], (0.5, 0.75))):
        drawn = np.flatnonzero((inside == colour).all(axis=2).any(axis=0)) / inside.shape[1]
        np.testing.assert_allclose((drawn.min(), drawn.max()), extent, atol=0.01)


def drawn_lengths(file: Path, colours: list[str]) -> np.ndarray:
    """Return the number of pixels of each colour in the pixel row that has the most of them: a bar."""
    picture = np.round(255 * matplotlib.image.imread(file)[..., :3]).astype(int)
    wanted = [np.round(255 * np.array(matplotlib.colors.to_rgb(colour))) for colour in colours]
    n_pixels = np.stack([(picture == rgb).all(axis=2).sum(axis=1) for rgb in wanted])
    return n_pixels[:, n_pixels.sum(axis=0).argmax()]
