"""Records: what a run is, how it is stored, and the statistics on it. Knows nothing of meters, models or pages."""
