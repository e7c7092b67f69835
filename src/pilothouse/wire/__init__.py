"""The client edge: HTTP, SigV4, service models, JSON 1.1 and query protocols, dispatch.

Imports no capability: `app` hands it the operation table, the credentials, the authoriser and the other routes.
"""
