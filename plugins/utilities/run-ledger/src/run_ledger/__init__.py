"""What is left of a run when it has ended: its row in the dataset `ops`, incidents and alerts."""
