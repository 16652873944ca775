"""GitHub, where the company keeps its code: as much of it as the example reads."""
