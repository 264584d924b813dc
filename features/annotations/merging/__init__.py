"""Adding boxes, species, recordings and labels to the tables of a data set."""
