"""The files of a source: the one in extract/, and those of its staging models."""
