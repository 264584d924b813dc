"""The member `cnn`: a small convolutional network with attention pooling on window spectrograms."""

import argparse

from models.estimators.cnn import ARCHITECTURES, CNNClassifier
from pipelines.members.networks import NetworkMember, NetworkScorer


class CNNScorer(NetworkScorer):
    """The mean of convolutional networks."""

    classifier = CNNClassifier


class CNN(NetworkMember):
    """Small convolutional networks with attention pooling; the score is the mean of two networks."""

    name = "cnn"
    scorer = CNNScorer
    n_networks = 2

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        arch = CNNClassifier().arch
        parser.add_argument(
            "--arch", choices=ARCHITECTURES, default=arch, help="plain or residual convolutions"
        )
        super().add_flags(parser)

    def network(self, args: argparse.Namespace) -> CNNClassifier:
        return CNNClassifier(arch=args.arch, epochs=args.epochs, device=args.device)
