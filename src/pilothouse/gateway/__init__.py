"""The agent edge: control channels, ec2messages, the frames on them, the outbox behind them, presence.

Imports no capability: `app` hands `edge.Edge` the table of senders (outbox topic to capability).
"""
