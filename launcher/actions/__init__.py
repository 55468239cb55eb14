"""What a command does: values in, values out; nothing is printed here."""
