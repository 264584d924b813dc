"""Models that turn arrays into scores: estimators, metrics and aggregation; no audio and no command line."""
