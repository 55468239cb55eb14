"""What is kept, encrypted: connections, credentials and client registrations at rest."""
