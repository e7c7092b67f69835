"""The capabilities: vertical slices, each a folder that exports one `CAPABILITY` through its face."""
