"""What the agent remembers on disk: registration, commands, replies nobody acknowledged yet."""
