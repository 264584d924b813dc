"""Models that can be trained, blended and used by `predict`. Each has a file here and a line in `MEMBERS`."""

MEMBERS = {
    "gbm": "pipelines.members.gbm:GBM",
    "mlp": "pipelines.members.mlp:MLP",
    "gru": "pipelines.members.gru:GRU",
    "cnn": "pipelines.members.cnn:CNN",
    "spectrum": "pipelines.members.spectrum:Spectrum",
}
"""Name of a member -> "module:class". A module is only imported when its member is used."""
