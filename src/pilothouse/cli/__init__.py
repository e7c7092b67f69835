"""What operators type: one file per command."""
