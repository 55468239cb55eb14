"""The wrapped program as a process: its start, its signals, its terminal, its end."""
