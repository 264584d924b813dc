import numpy as np

from features.frames.frames import Frames, background_spectrum, concatenate, overlay, subtract_background


def recording(n_frames: int, background: float, seed: int = 0) -> Frames:
    """Return a constant background in four mel bands, with 20 dB more in frames 5 to 7 of band `seed` % 4."""
    rng = np.random.default_rng(seed)
    log_mel = np.full((n_frames, 4), background, np.float32)
    log_mel[5:8, seed % 4] += 20
    return Frames.of(log_mel, rng.random((n_frames, 3)).astype(np.float32))


def test_background_is_the_20th_percentile_and_background_spectrum_is_the_median() -> None:
    log_mel = np.tile(np.arange(11, dtype=np.float32)[:, None], (1, 5))
    assert (subtract_background(log_mel)[:, 0] == np.arange(11) - 2).all()
    assert (background_spectrum(log_mel) == 5).all()


def test_excerpt_contains_background_beyond_the_recording() -> None:
    frames = recording(20, -60)
    inside = frames.excerpt(4, 6)
    np.testing.assert_array_equal(inside.log_mel, frames.log_mel[4:10])
    np.testing.assert_array_equal(inside.contrast, frames.contrast[4:10])
    for first in (-3, 17, -30, 30):
        part = frames.excerpt(first, 6)
        at = np.arange(first, first + 6)
        beyond = (at < 0) | (at >= 20)
        assert len(part) == 6
        assert (part.log_mel[beyond] == -60).all()
        assert (part.levels[beyond] == 0).all()
        np.testing.assert_array_equal(part.log_mel[~beyond], frames.log_mel[at[~beyond]])


def test_overlay_preserves_the_level_above_the_background() -> None:
    call, place = recording(20, -40, seed=1), recording(20, -70, seed=2)
    overlaid = overlay(call, place)
    assert (overlaid.levels[5:8, 1] == 20).all()  # the call
    assert (overlaid.levels[5:8, 2] == 20).all()  # the sound of `place`
    assert (overlaid.levels[:5] == 0).all()
    np.testing.assert_array_equal(overlaid.log_mel, overlaid.levels - 70)
    np.testing.assert_array_equal(overlaid.contrast, np.maximum(call.contrast, place.contrast))


def test_overlay_has_the_higher_of_the_two_levels() -> None:
    quiet, loud = recording(20, -50, seed=1), recording(20, -50, seed=1)
    loud.levels[6] += 5
    np.testing.assert_array_equal(overlay(quiet, loud).levels, loud.levels)
    np.testing.assert_array_equal(overlay(loud, quiet).levels, loud.levels)


def test_concatenate_joins_frames_in_sequence() -> None:
    first, second = recording(20, -40), recording(9, -70, seed=1)
    both = concatenate([first, second])
    assert len(both) == 29
    np.testing.assert_array_equal(both.levels[20:], second.levels)
    np.testing.assert_array_equal(both.log_mel[:20], first.log_mel)
