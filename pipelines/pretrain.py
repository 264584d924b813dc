"""Pre-train a network on recordings without labels; `--pretrained` of its command starts from the result.

The state after each epoch is stored next to the output. After an interruption, the same command continues.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # import from the repository root, so that no module here can shadow a library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

import joblib
import numpy as np
from tqdm import tqdm

from features.columns.sequences import window_sequences
from features.common.errors import UserError
from features.common.parallel import in_parallel
from features.data.audio import AudioError
from features.frames.segments import in_segments
from features.frames.spectral import SpectralSettings
from features.frames.store import packed_frames
from features.frames.windows import WindowSettings, window_starts
from models.estimators.network import DEVICES
from models.estimators.pretraining import Pretraining
from models.estimators.pretraining_losses import HEADS
from pipelines.core.cli import HelpFormatter, add_follow_links_flag, natural, positive, run
from pipelines.core.member import member_class
from pipelines.core.new_recordings import recordings_of
from pipelines.core.task import validate_window
from pipelines.members import MEMBERS
from pipelines.members.networks import NetworkMember, available_device, one_torch_thread

SEGMENT = 60.0  # levels are relative to the background of segments of this duration, s


def network_members() -> dict[str, type[NetworkMember]]:
    """Return the members that can be pre-trained, by name."""
    classes = {name: member_class(name) for name in MEMBERS}
    return {name: found for name, found in classes.items() if issubclass(found, NetworkMember)}


def sequences(path: Path, window: WindowSettings, settings: SpectralSettings) -> np.ndarray | AudioError:
    """Return the windows of a recording, (n_windows, n_steps, n_mels), or the error if it cannot be read."""
    longest = round(SEGMENT * settings.frame_rate) + 1
    length, hop = window.in_frames(settings.frame_rate)
    parts, end = [], 0
    try:
        for first, frames in in_segments(packed_frames(path, settings), longest, settings):
            starts = window_starts(len(frames), length, hop)
            starts = starts[first + starts >= end]  # the last segment can overlap the one before it
            parts.append(window_sequences(frames, starts, length))
            end = first + len(frames) - 1
    except AudioError as error:
        return error
    return np.concatenate(parts)


def main(args: argparse.Namespace) -> None:
    window, settings = WindowSettings(length=args.window, hop=args.window / 2), SpectralSettings()
    validate_window(window, settings.frame_rate)
    if args.out.is_dir():
        raise UserError(f"{args.out}: is a folder; give the name of a file with --out")
    recordings, _ = recordings_of(args.recordings, follow_links=args.follow_links)
    parts: list[np.ndarray] = []
    found = in_parallel(sequences, ((path, window, settings) for path in recordings.values()), args.jobs)
    for of_recording in tqdm(found, "windows", len(recordings), unit="recording"):
        if isinstance(of_recording, AudioError):
            print(f"left out: {of_recording}", file=sys.stderr)
        else:
            parts.append(of_recording)
    if not parts:
        raise UserError("none of the recordings can be read; give others")
    network = network_members()[args.model].scorer.classifier(device=args.device)
    pretraining = Pretraining(network=network, loss=args.loss, epochs=args.epochs, random_state=args.seed)
    checkpoint = args.out.with_name(f"{args.out.name}.unfinished")
    with tqdm(desc="pre-training", total=args.epochs, unit="epoch") as progress:

        def show(loss: float) -> None:
            progress.update(len(pretraining.history_) - progress.n)
            progress.set_postfix(loss=f"{loss:.3f}")

        n_windows, X = np.array([len(part) for part in parts]), np.concatenate(parts)
        parts.clear()  # frees half of the memory
        with one_torch_thread():  # so that the result does not depend on the number of cores
            pretraining.fit(X, n_windows, on_epoch=show, checkpoint=checkpoint)
    pretraining.save(args.out)
    checkpoint.unlink(missing_ok=True)
    print(f"{args.out}: encoder for python pipelines/{args.model}.py --pretrained {args.out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("recordings", type=Path, nargs="+", help="recordings, or folders of recordings")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file for the encoder")
    models = list(network_members())
    parser.add_argument("--model", choices=models, default=models[0], help="model to pre-train")
    parser.add_argument(
        "--loss",
        choices=HEADS,
        default=Pretraining.loss,
        help="cola: windows of a recording become similar; triplets: a window and changes of it",
    )
    parser.add_argument("--epochs", type=positive, default=Pretraining.epochs, help="number of epochs")
    parser.add_argument(
        "--window", type=float, default=WindowSettings().length, metavar="S", help="window length, s"
    )
    parser.add_argument("--seed", type=natural, default=0, help="random seed")
    parser.add_argument(
        "--device", type=available_device, choices=DEVICES, default="auto", help="device to train on"
    )
    parser.add_argument(
        "--jobs", type=positive, default=joblib.cpu_count(), help="number of cores that read recordings"
    )
    add_follow_links_flag(parser)
    run(main, parser, continues=True)
