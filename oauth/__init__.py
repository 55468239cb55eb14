"""How a credential is obtained from a provider and kept fresh."""
