"""The embedded data set: synthetic soundscapes of 24 invented species.

The species have the frequency bands and durations of the 24 RFCX species (medians of the published TP
boxes), and call types of birds and frogs. The data set has the difficulties of the real task: calls of
several species overlap in time and frequency, individuals differ, sites differ in rain, insects and hum, only
some calls have a TP box, and FP boxes mark confusers (calls of a different type in the same band). All
species have about the same number of boxes. In the test recordings, their prevalence is as uneven as in the
field.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
import scipy.signal
import soundfile
from tqdm import tqdm

from features.common.files import digest, replacing
from features.common.formulas import escape_formulas
from features.common.parallel import in_parallel
from features.data.dataset import BOX_COLUMNS

VERSION = 1  # increase it if the same settings give different recordings


@dataclass(frozen=True)
class SyntheticSettings:
    """Settings of the embedded data set."""

    n_train: int = 160
    n_test: int = 100
    duration: float = 20.0
    """Duration of each recording, s."""
    sr: int = 32_000
    n_train_sites: int = 10
    n_test_sites: int = 6
    calls_per_species: int = 3
    """Maximum number of calls of a species in a recording where it occurs; long calls occur once."""
    boxed: float = 0.5
    """Probability that a call of an annotated species has a TP box; the first call always has one."""
    unannotated: float = 0.2
    """Prevalence of species without annotation in training recordings, as a share of the test prevalence."""
    n_confusers: int = 4
    """Number of confusers per recording."""
    snr: tuple[float, float] = (0.0, 12.0)
    """Minimum and maximum level of a call above the noise in its band, dB."""
    seed: int = 0


@dataclass(frozen=True)
class Call:
    """The call of a species.

    Attributes
    ----------
    fmin, fmax : float
        Frequency band, Hz.
    duration : float
        Maximum duration, s.
    kind : str
        One of `KINDS`.
    rate : float
        Notes or pulses per second; for whistles and sweeps, bends per call.
    prevalence : float
        Number of recordings with the species per 1,000 test recordings, from Table 2 of LeBien et al. (2020).
    """

    fmin: float
    fmax: float
    duration: float
    kind: str
    rate: float
    prevalence: float


# Bands in Hz and durations in s are medians of the TP boxes in RFCX's train_tp.csv, species 0 to 23.
CALLS = (
    Call(5906, 8250, 0.79, "trill", 14, 113),
    Call(3844, 5625, 0.90, "sweep up", 1, 204),
    Call(469, 3000, 1.78, "harmonics", 2, 44),
    Call(1031, 2812, 0.74, "whistle", 1, 923),
    Call(2344, 4219, 1.86, "pulses", 9, 53),
    Call(4781, 10406, 2.35, "sweep down", 3, 41),
    Call(562, 4406, 2.14, "harmonics", 5, 3),
    Call(4688, 11438, 3.14, "trill", 7, 213),
    Call(3750, 5531, 4.12, "pulses", 22, 44),
    Call(844, 5719, 3.56, "whistle", 4, 23),
    Call(947, 10853, 2.44, "sweep up", 6, 26),
    Call(1809, 5685, 1.14, "buzz", 60, 149),
    Call(562, 3281, 3.14, "sweep down", 5, 255),
    Call(94, 844, 0.62, "harmonics", 1, 14),
    Call(2812, 5531, 0.59, "sweep up", 2, 123),
    Call(94, 1125, 3.34, "pulses", 4, 222),
    Call(3094, 4594, 1.83, "trill", 18, 46),
    Call(1312, 3938, 6.45, "pulses", 3, 6),
    Call(3188, 5062, 0.69, "whistle", 2, 474),
    Call(281, 2812, 1.55, "buzz", 35, 4),
    Call(2344, 5719, 3.44, "sweep down", 8, 17),
    Call(3281, 4125, 1.09, "buzz", 25, 18),
    Call(10688, 13688, 1.61, "trill", 10, 23),
    Call(7235, 11283, 6.08, "buzz", 12, 72),
)
KINDS = ("whistle", "sweep up", "sweep down", "trill", "pulses", "harmonics", "buzz")
MIN_PREVALENCE = 0.03  # species with a lower prevalence would not occur in a small test set


def write_dataset(root: Path, n_jobs: int, settings: SyntheticSettings = SyntheticSettings()) -> Path:
    """Write the embedded data set to a folder, unless the folder already contains it, and return the folder.

    The content depends only on the settings: every recording has its own random generator. If a run is
    killed, the next one writes all files again.

    Parameters
    ----------
    root : Path
        The folder; its recordings and tables are replaced.
    n_jobs : int
        Number of threads.
    settings : SyntheticSettings, optional

    Returns
    -------
    Path
        `root`, with the layout described in `features.data.dataset`.

    Examples
    --------
    >>> import tempfile
    >>> settings = SyntheticSettings(n_train=2, n_test=1, duration=8.0)
    >>> root = write_dataset(Path(tempfile.mkdtemp()) / "synthetic", n_jobs=1, settings=settings)
    >>> sorted(path.name for path in (root / "train").iterdir())
    ['train0000.flac', 'train0001.flac']
    """
    state = root / ".settings"
    wanted = digest(VERSION, settings, CALLS)
    if state.exists() and state.read_text(encoding="utf-8") == wanted:
        return root
    state.unlink(missing_ok=True)
    (train_ids, train_sites), (test_ids, test_sites) = _plan(settings)
    train = _write_recordings(root / "train", train_ids, train_sites, n_jobs=n_jobs, settings=settings)
    test = _write_recordings(root / "test", test_ids, test_sites, n_jobs=n_jobs, settings=settings)

    columns = [f"s{k}" for k in range(len(CALLS))]
    names = [
        f"{column} {call.kind} {(call.fmin + call.fmax) / 2000:.1f} kHz"
        for column, call in zip(columns, CALLS, strict=True)
    ]
    truth = pd.DataFrame([content.present for content in test], columns=columns)
    truth.insert(0, "recording_id", test_ids)
    tp = [(r, *box) for r, content in zip(train_ids, train, strict=True) for box in content.tp]
    fp = [(r, *box) for r, content in zip(train_ids, train, strict=True) for box in content.fp]
    tables = {
        "train_tp.csv": pd.DataFrame(tp, columns=list(BOX_COLUMNS)),
        "train_fp.csv": pd.DataFrame(fp, columns=list(BOX_COLUMNS)),
        "test_labels.csv": truth,
        "sample_submission.csv": truth.assign(**dict.fromkeys(columns, 0.0)),
        "species.csv": pd.DataFrame({"species_id": range(len(names)), "name": names}),
        "groups.csv": pd.DataFrame({"recording_id": train_ids, "group": train_sites}),
    }
    for file, table in tables.items():
        with replacing(root / file) as temporary:
            escape_formulas(table).to_csv(temporary, index=False)
    with replacing(state) as temporary:
        temporary.write_text(wanted, encoding="utf-8")
    return root


def render_call(call: Call, sr: int, rng: np.random.Generator) -> np.ndarray:
    """Return the call of one individual, with a mean power of 1, shape (n_samples,).

    Individuals differ in pitch, tempo, duration and the loudness of notes.

    Parameters
    ----------
    call : Call
    sr : int
        Sample rate, Hz.
    rng : np.random.Generator
    """
    width = call.fmax - call.fmin
    low = call.fmin + width * rng.uniform(0.08, 0.22)
    high = call.fmax - width * rng.uniform(0.08, 0.22)
    middle = (low + high) / 2 + width * rng.uniform(-0.08, 0.08)
    duration = call.duration * rng.uniform(0.85, 1.0)
    rate = call.rate * rng.uniform(0.88, 1.12)
    t = np.arange(int(duration * sr)) / sr
    cycle = t * rate
    phase = cycle % 1
    if call.kind == "whistle":
        bend = np.sin(2 * np.pi * (t / duration * call.rate / 2 + rng.uniform(0, 0.15)))
        y = _tone(middle + 0.3 * (high - low) * bend, sr)
    elif call.kind in ("sweep up", "sweep down"):
        notes = t / duration * call.rate % 1
        rise = notes if call.kind == "sweep up" else 1 - notes
        y = _tone(low * (high / low) ** rise, sr) * np.sin(np.pi * notes) ** 0.5
    elif call.kind == "trill":
        y = _tone(middle + 0.35 * (high - low) * (phase - 0.5), sr) * np.clip(
            np.sin(np.pi * phase * 1.5), 0, 1
        )
    elif call.kind == "pulses":
        strength = rng.uniform(0.6, 1, int(cycle[-1]) + 1)[cycle.astype(int)]
        decay = np.exp(-phase * rng.uniform(7, 10)) * (1 - np.exp(-phase * 40))
        y = _tone(np.full_like(t, middle), sr) * decay * strength
    elif call.kind == "harmonics":
        fundamental = max(low, (high - low) / 5) * (1 + 0.06 * np.sin(2 * np.pi * cycle))
        orders = range(1, int(high / fundamental.min()) + 1)
        y = sum((_tone(k * fundamental, sr) * 0.75**k for k in orders), np.zeros_like(t))
        y = y * (0.55 + 0.45 * np.sin(2 * np.pi * cycle - np.pi / 2))
    elif call.kind == "buzz":
        y = _band_noise(len(t), (low, high), sr, rng=rng) * (0.5 + 0.5 * np.sign(np.sin(2 * np.pi * cycle)))
    else:
        raise ValueError(f"unknown call kind '{call.kind}'; use one of {', '.join(KINDS)}")
    y = (
        y
        * scipy.signal.windows.tukey(len(t), 0.1)
        * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * t))
    )
    echo = np.zeros_like(y)
    for _ in range(3):  # reflections from leaves and trunks
        delay = int(rng.uniform(0.01, 0.06) * sr)
        echo[delay:] += rng.uniform(0.05, 0.25) * y[: len(y) - delay]
    y = y + echo
    return y / np.sqrt(np.mean(y**2))


def confusers(species: int) -> tuple[Call, Call]:
    """Return two calls with the same band and duration as the call of a species.

    The first is of a different kind. The second is of the same kind, but has a higher rate.
    """
    call = CALLS[species]
    kind = KINDS[(KINDS.index(call.kind) + 3) % len(KINDS)]
    return replace(call, kind=kind, rate=max(call.rate, 4) * 1.7), replace(call, rate=call.rate * 1.8 + 1)


class _Content(NamedTuple):
    """Content of a recording: 0/1 presence, (n_species,), and TP and FP boxes without the recording id."""

    present: np.ndarray
    tp: list[tuple[float, ...]]
    fp: list[tuple[float, ...]]


def _plan(settings: SyntheticSettings) -> tuple[tuple[list[str], list[int]], tuple[list[str], list[int]]]:
    """Return the ids and sites of the training and of the test recordings, which have different sites."""
    train_sites = [k % settings.n_train_sites for k in range(settings.n_train)]
    test_sites = [settings.n_train_sites + k % settings.n_test_sites for k in range(settings.n_test)]
    return (
        ([f"train{k:04d}" for k in range(settings.n_train)], train_sites),
        ([f"test{k:04d}" for k in range(settings.n_test)], test_sites),
    )


def _write_recordings(
    folder: Path, ids: list[str], sites: list[int], *, n_jobs: int, settings: SyntheticSettings
) -> list[_Content]:
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.flac"):
        stale.unlink()
    arguments = [
        (folder / f"{recording_id}.flac", k, site)
        for k, (recording_id, site) in enumerate(zip(ids, sites, strict=True))
    ]
    written = in_parallel(partial(_write_recording, settings=settings), arguments, n_jobs)
    return list(tqdm(written, desc=f"synthetic {folder.name}", total=len(ids), unit="recording"))


def _write_recording(path: Path, k: int, site: int, *, settings: SyntheticSettings) -> _Content:
    """Write recording number `k` of a split and return its content."""
    split = path.parent.name
    rng = np.random.default_rng((settings.seed, split == "test", k))
    y = _background(site, settings, rng)
    spectrum = np.abs(scipy.fft.rfft(y)) ** 2
    prevalence = np.maximum([call.prevalence / 1000 for call in CALLS], MIN_PREVALENCE)
    if split == "test":
        annotated = np.zeros(len(CALLS), bool)
        present = rng.random(len(CALLS)) < prevalence
    else:
        # Three species per recording are annotated. They are taken in turn from shuffled lists of all
        # species, so that each species is annotated about equally often.
        order = np.random.default_rng((settings.seed, k * 3 // len(CALLS))).permutation(len(CALLS))
        annotated = np.isin(np.arange(len(CALLS)), order[k * 3 % len(CALLS) + np.arange(3)])
        present = annotated | (rng.random(len(CALLS)) < settings.unannotated * prevalence)

    tp, fp = [], []
    for species in np.flatnonzero(present):
        call = CALLS[species]
        max_calls = 1 if call.duration > settings.duration / 5 else settings.calls_per_species
        for n in range(rng.integers(1, max_calls + 1)):
            start = _add_call(y, spectrum, call, settings=settings, rng=rng)
            if annotated[species] and (n == 0 or rng.random() < settings.boxed):
                tp.append(_box(species, call, start))
    absent = np.flatnonzero(~present)
    for species in rng.choice(absent, settings.n_confusers, replace=False):
        call = confusers(species)[rng.integers(2)]
        fp.append(_box(species, call, _add_call(y, spectrum, call, settings=settings, rng=rng)))
    fp += [  # boxes in background noise, like false positives of a detector
        _box(species, CALLS[species], rng.uniform(0, settings.duration - CALLS[species].duration))
        for species in rng.choice(absent, 2, replace=False)
    ]
    with replacing(path) as temporary:
        soundfile.write(temporary, 0.9 * y / np.abs(y).max(), settings.sr, subtype="PCM_16")
    return _Content(present.astype(int), tp, fp)


def _box(species: np.integer, call: Call, start: float) -> tuple[float, ...]:
    return (int(species), 1, round(start, 4), call.fmin, round(start + call.duration, 4), call.fmax)


def _add_call(
    y: np.ndarray,
    spectrum: np.ndarray,
    call: Call,
    *,
    settings: SyntheticSettings,
    rng: np.random.Generator,
) -> float:
    """Add a call to `y` in place and return its start in seconds.

    The level of the call depends on `spectrum`, the power spectrum of the noise.
    """
    sound = render_call(call, settings.sr, rng)
    start = rng.uniform(0, settings.duration - call.duration)
    bins = len(y) / settings.sr
    in_band = spectrum[int(call.fmin * bins) : int(call.fmax * bins)]
    noise_power = 2 * in_band.sum() / len(y) ** 2  # Parseval's theorem, one-sided spectrum
    level = 10 ** (rng.uniform(*settings.snr) / 20)
    first = int(start * settings.sr)
    y[first : first + len(sound)] += level * np.sqrt(noise_power) * sound
    return start


def _background(site: int, settings: SyntheticSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the noise of a recording, (n_samples,): wind, rain, and the insects and hum of its site."""
    site_rng = np.random.default_rng((settings.seed, 7, site))
    slope = site_rng.uniform(0.6, 1.3)
    insects = [
        (site_rng.uniform(3500, 12000), site_rng.uniform(20, 90)) for _ in range(site_rng.integers(1, 4))
    ]
    hum = site_rng.uniform(80, 400)
    rainy = site_rng.uniform(0, 1)

    n = int(settings.duration * settings.sr)
    t = np.arange(n) / settings.sr
    y = _coloured_noise(n, slope, settings.sr, rng=rng)
    y *= 1 + 0.5 * np.interp(t, np.linspace(0, settings.duration, 12), rng.uniform(-1, 1, 12))  # wind
    for centre, rate in insects:
        centre = centre * rng.uniform(0.97, 1.03)
        chorus = _band_noise(n, (centre - 350, centre + 350), settings.sr, rng=rng)
        pulse = 0.6 + 0.4 * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6))
        swell = np.interp(t, np.linspace(0, settings.duration, 8), rng.uniform(0.2, 1, 8))
        y += rng.uniform(0.02, 0.12) * chorus * pulse * swell
    y += 0.05 * rng.uniform() * np.sin(2 * np.pi * hum * t)
    if rng.random() < rainy:
        drops = (rng.random(n) < rng.uniform(5, 60) / settings.sr) * rng.exponential(1, n)
        splash = rng.standard_normal(400) * np.exp(-np.arange(400) / 60)
        y += rng.uniform(0.1, 0.6) * scipy.signal.fftconvolve(drops, splash)[:n]
    return y


def _tone(frequency: np.ndarray, sr: int) -> np.ndarray:
    """Return a sine with the given instantaneous frequency in Hz, both of shape (n_samples,)."""
    return np.sin(2 * np.pi * np.cumsum(frequency) / sr)


def _coloured_noise(n: int, slope: float, sr: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) noise with variance 1 and power proportional to 1 / f ** (2 * slope); 0.5 is pink noise."""
    return _shaped_noise(n, lambda frequency: np.maximum(frequency, 40.0) ** -slope, sr, rng=rng)


def _band_noise(n: int, band: tuple[float, float], sr: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) noise between two frequencies in Hz, with variance 1."""
    low, high = band
    return _shaped_noise(n, lambda frequency: (frequency >= low) & (frequency <= high), sr, rng=rng)


def _shaped_noise(
    n: int, gain: Callable[[np.ndarray], np.ndarray], sr: int, *, rng: np.random.Generator
) -> np.ndarray:
    """Return (n,) Gaussian noise with variance 1 and a magnitude proportional to `gain(frequency)`."""
    n_fft = scipy.fft.next_fast_len(n, real=True)
    frequency = np.linspace(0, sr / 2, n_fft // 2 + 1, dtype=np.float32)
    draws = rng.standard_normal((len(frequency), 2), dtype=np.float32).view(np.complex64)[:, 0]
    y = scipy.fft.irfft(draws * gain(frequency).astype(np.float32), n_fft)[:n]
    return y / y.std()
