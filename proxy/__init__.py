"""One request in, one decision, one request out."""
