"""What the child of a run is kept from, by means of the operating system."""
