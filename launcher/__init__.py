"""The composition root: commands, settings and the child process."""
