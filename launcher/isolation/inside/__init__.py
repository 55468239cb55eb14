"""In the forked child, between the fork and the program."""
