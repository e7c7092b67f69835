"""The client's side of a session: what session-manager-plugin is to the aws CLI, for our own commands.

`channel` keeps the connection and its order, `opening` asks the server, `mux` and `files` are spoken inside, `streams`
are the descriptors of this process.
"""
