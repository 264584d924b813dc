"""The member `cnn`: a small convolutional network with attention pooling on window spectrograms."""

import argparse

from models.estimators.cnn import ARCHITECTURES, CNNClassifier
from pipelines.members.networks import NetworkMember, NetworkScorer


class CNNScorer(NetworkScorer):
    """The mean of the convolutional networks of all folds."""

    classifier = CNNClassifier


class CNN(NetworkMember):
    """A small convolutional network with attention pooling, one network per fold."""

    name = "cnn"
    scorer = CNNScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        arch = CNNClassifier().arch
        parser.add_argument(
            "--arch", choices=ARCHITECTURES, default=arch, help="plain or residual convolutions"
        )
        super().add_flags(parser)

    def network(self, args: argparse.Namespace) -> CNNClassifier:
        return CNNClassifier(arch=args.arch, epochs=args.epochs, device=args.device)
