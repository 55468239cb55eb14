"""Finds and replaces what may not come back: a run's credentials in answers."""
