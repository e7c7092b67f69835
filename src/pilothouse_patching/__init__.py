"""The program that nodes run to scan for patches and install them: Python's standard library, 3.6 or newer.

The server packs this folder into one file and serves it; AWS-RunPatchBaseline fetches and runs it, under any agent.
Nothing here imports the server, and only `choosing` is imported by it: how a baseline judges a patch is written once.
"""
