"""Hands out a fresh credential, refreshing it when due, once for all processes."""
