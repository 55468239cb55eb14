"""The browser part of a login: flows, and the loopback page that they use."""
