"""Benchmarks. Every figure that counts is a ratio taken in one interleaved run on one machine; nothing here asserts."""
