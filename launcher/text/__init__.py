"""What people read: messages, tables, and the words for what was found."""
