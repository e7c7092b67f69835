"""Pilothouse: a self-hosted control plane that speaks AWS Systems Manager and AWS Secrets Manager."""
