"""Train the member gru: a small bidirectional GRU with attention pooling on window spectrograms."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipelines.core.train import run_training_command
from pipelines.members.gru import GRU

if __name__ == "__main__":
    run_training_command(GRU(), __doc__)
