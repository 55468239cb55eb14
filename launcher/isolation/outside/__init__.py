"""The launcher's side: which level it gets, and what a sandbox's network leads to."""
