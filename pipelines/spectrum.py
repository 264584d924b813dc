"""Train the member spectrum: trees and a linear model on the spectrum of whole recordings."""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipelines.core.train import run_training_command
from pipelines.members.spectrum import Spectrum

if __name__ == "__main__":
    run_training_command(Spectrum(), __doc__)
