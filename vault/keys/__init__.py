"""Where the vault's key comes from, how it is wrapped, and how it is changed."""
