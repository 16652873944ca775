"""Whole jobs on the sandbox: what they end in, by themselves and when things break."""
