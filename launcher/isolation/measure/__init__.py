"""What this machine is and allows, measured before anything is decided."""
