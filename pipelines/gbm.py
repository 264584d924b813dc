"""Train the member gbm: one-vs-rest LightGBM and a ridge discriminant on window columns, tuned by Optuna."""

import sys
from pathlib import Path

if __name__ == "__main__":  # imports start at the repository, so that no module here hides a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipelines.core.train import run_training_command
from pipelines.members.gbm import GBM

if __name__ == "__main__":
    run_training_command(GBM(), __doc__)
