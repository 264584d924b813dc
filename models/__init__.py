"""Arrays to scores: estimators, metrics and aggregation, without audio and without a command line."""
