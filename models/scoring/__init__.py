"""From window scores to recording scores: pooling, calibration, blending, thresholds and prevalence."""
