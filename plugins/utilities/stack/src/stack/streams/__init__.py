"""Streams: what is known of each, and how to read one again."""
