"""The member `gru`: a small bidirectional GRU with attention pooling on window spectrograms."""

import argparse

from models.estimators.gru import CELLS, GRUClassifier
from pipelines.members.networks import NetworkMember, NetworkScorer


class GRUScorer(NetworkScorer):
    """The mean of recurrent networks."""

    classifier = GRUClassifier


class GRU(NetworkMember):
    """Small bidirectional GRUs with attention pooling; the score is the mean of two networks."""

    name = "gru"
    scorer = GRUScorer
    n_networks = 2

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        cell = GRUClassifier().cell
        parser.add_argument(
            "--cell", type=str.upper, choices=CELLS, default=cell, help="kind of recurrent cell"
        )
        super().add_flags(parser)

    def network(self, args: argparse.Namespace) -> GRUClassifier:
        return GRUClassifier(cell=args.cell, epochs=args.epochs, device=args.device)
