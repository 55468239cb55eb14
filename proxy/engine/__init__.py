"""Drives one connection of a child through TLS and HTTP, and calls the addon."""
