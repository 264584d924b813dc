"""Estimators in scikit-learn's style, one per file."""
