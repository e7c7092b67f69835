"""Who is calling and may they: principals, credentials, authorisation."""
