"""One run: what it offers, its folder, its environment, its end."""
