"""The way to the server and back: signatures, HTTPS, the control channel, message polling."""
