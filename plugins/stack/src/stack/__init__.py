"""The project's own commands, run through `meltano invoke stack`."""
