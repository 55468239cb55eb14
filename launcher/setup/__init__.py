"""What every command is made from: settings, routes, trust, and the parts that are constructed once."""
