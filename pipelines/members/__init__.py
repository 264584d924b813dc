"""Models that can be trained, blended and used by `predict`: one file per model, one registry line each."""

MEMBERS = {
    "gbm": "pipelines.members.gbm:GBM",
    "gru": "pipelines.members.gru:GRU",
}
"""Name of a member -> "module:class". Modules are imported when their member is used."""
