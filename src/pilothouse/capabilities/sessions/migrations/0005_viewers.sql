-- viewer: of a token to watch or join who may use it, sealed; null for others.
alter table session_token add column viewer blob;
