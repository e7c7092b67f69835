"""Sessions: a shell, a program, a tunnel or files, over a data channel of its own.

keeper.py is the part that lives in the agent; each session is a process of its own (worker.py), which
outlives the agent. Between worker and client: reliable.py (order and repetition), channel.py (the
connection), handshake.py and encryption.py. What a session does: terminal.py, programs.py, ports.py, transfer.py.
"""
