"""Tables with changed bytes and cells, and names that other programs interpret."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from features.annotations.exporting import PER_RECORDING, export_per_recording, export_raven
from features.annotations.importing import import_labels
from features.common.errors import UserError
from features.common.formulas import escape_formulas
from features.data.dataset import load_dataset
from tests.conftest import write_small_dataset
from tests.fuzzing.mutation import check_message, mutated

TOKENS = (
    "",
    "NaN",
    "inf",
    "-1",
    "1e309",
    "1.7e308",
    "99999999999999999999",
    "s0",
    "a0",
    "../a0",
    "é",
    '"',
    "\0",
)
NAMES = (
    *("=1+1", "-2+3", "+cmd", "@x", "'=x", "US$ 5", r"$\frac$", "{{title}}", "{% x %}", "<script>", "&amp;"),
    *("nan", "None", "1", "1.0", "TRUE", "a,b", 'a"b', "a;b", "é", "日本", "%20", "a?b", "#", "x" * 200),
    *("con", "owl.flac", "a b", "~", "!", "[x]", "*"),
)


def _small_dataset(folder: Path) -> Path:
    """Return a new data set; a case before this one may have been killed."""
    shutil.rmtree(folder / "small", ignore_errors=True)
    return write_small_dataset(folder / "small")


def try_table(folder: Path, rng: np.random.Generator) -> str:
    """Load a data set after a change of some bytes or of a cell in a table; return the outcome."""
    root = _small_dataset(folder)
    tables = sorted(root.glob("*.csv"))
    file = tables[rng.integers(len(tables))]
    before = file.read_bytes()
    if rng.random() < 0.5:
        file.write_bytes(mutated(before, rng))
    else:
        cells = pd.read_csv(io.BytesIO(before), dtype=str)
        cells.iloc[rng.integers(len(cells)), rng.integers(cells.shape[1])] = rng.choice(TOKENS)
        cells.to_csv(file, index=False, sep=str(rng.choice([",", ",", ";"])))
    try:
        dataset = load_dataset(root)
    except UserError as error:
        return check_message(error, root)
    assert set(dataset.tp["recording_id"]) <= set(dataset.train)
    assert dataset.tp["species_id"].between(0, dataset.n_species - 1).all()
    assert np.isfinite(dataset.tp[["t_min", "t_max", "f_min", "f_max"]]).all(axis=None)
    return "read"


def try_names(folder: Path, rng: np.random.Generator) -> str:
    """Export and import a data set whose species and recordings have unusual names: it must be the same."""
    root = _small_dataset(folder)
    for name in ("files", "again"):
        shutil.rmtree(folder / name, ignore_errors=True)
    species = [str(name) for name in rng.choice(NAMES, 3, replace=False)]
    recordings = dict(
        zip((f"a{k}" for k in range(6)), map(str, rng.choice(NAMES, 6, replace=False)), strict=True)
    )
    try:
        _rename(root, species, recordings)
        dataset = load_dataset(root)
        assert dataset.species == tuple(species)
        assert set(dataset.train) == set(recordings.values())
        form = str(rng.choice([*PER_RECORDING, "one"]))
        out = folder / "files"
        export_raven(dataset, out) if form == "one" else export_per_recording(dataset, out, form)
        import_labels(root / "train", out, folder / "again")
        again = load_dataset(folder / "again")
        assert again.species == dataset.species
        for name in ("tp", "fp"):
            rows = [
                set(
                    getattr(one, name)[["recording_id", "species_id", "t_min"]].itertuples(
                        index=False, name=None
                    )
                )
                for one in (dataset, again)
            ]
            assert rows[0] == rows[1], (form, rows[0] ^ rows[1])
    except UserError as error:
        return check_message(error, folder)
    return "read"


def try_import(folder: Path, rng: np.random.Generator) -> str:
    """Import changed label files and tables: the data set is valid afterwards, or as it was before."""
    labels, out = folder / "labels", _small_dataset(folder)
    shutil.rmtree(labels, ignore_errors=True)
    dataset = load_dataset(out)
    if rng.random() < 0.5:
        export_raven(dataset, labels)
    else:
        export_per_recording(dataset, labels, str(rng.choice(list(PER_RECORDING))))
    files = sorted(labels.iterdir())
    file = files[rng.integers(len(files))]
    file.write_bytes(mutated(file.read_bytes(), rng))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    try:
        import_labels(out / "train", labels, out)
    except UserError as error:
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        return check_message(error, folder)
    load_dataset(out)
    return "read"


def _rename(root: Path, species: list[str], recordings: dict[str, str]) -> None:
    """Rename the species and the training recordings of a data set."""
    for old, new in recordings.items():
        (root / "train" / f"{old}.flac").rename(root / "train" / f"{new}.flac")
    for file in root.glob("*.csv"):
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        if "recording_id" in table:
            table["recording_id"] = table["recording_id"].replace(recordings)
        if file.name == "species.csv":
            table["name"] = species
        escape_formulas(table).to_csv(file, index=False)
