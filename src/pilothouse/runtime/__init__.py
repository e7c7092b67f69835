"""The outside world as values: clock, ids and randomness, settings, logs, metrics, wake-up bus.

Nothing outside this package reads the system clock, draws randomness or looks at the environment.
"""
