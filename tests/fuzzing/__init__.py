"""Generators of hostile cases, by class. Each returns the outcome of a case, and raises if it ends badly."""
