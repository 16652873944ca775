"""Bringing in a source, and keeping environments apart: what is done by configuration alone."""
