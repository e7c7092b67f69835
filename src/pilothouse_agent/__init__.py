"""The Pilothouse node agent: registers a machine, holds its control channel, runs what it is sent."""
