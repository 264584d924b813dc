"""The member `gru`: a small bidirectional GRU with attention pooling on window spectrograms."""

import argparse

from models.estimators.gru import CELLS, GRUClassifier
from pipelines.members.networks import NetworkMember, NetworkScorer


class GRUScorer(NetworkScorer):
    """The mean of the recurrent networks of all folds."""

    classifier = GRUClassifier


class GRU(NetworkMember):
    """A small bidirectional GRU with attention pooling, one network per fold."""

    name = "gru"
    scorer = GRUScorer

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        cell = GRUClassifier().cell
        parser.add_argument(
            "--cell", type=str.upper, choices=CELLS, default=cell, help="kind of recurrent cell"
        )
        super().add_flags(parser)

    def network(self, args: argparse.Namespace) -> GRUClassifier:
        return GRUClassifier(cell=args.cell, epochs=args.epochs, device=args.device)
