"""Where whole outputs go besides the reply: an object store, log groups, and the server while a step runs.

outputs.py follows each run and keeps what is still to be sent on disk; the other modules send.
"""
