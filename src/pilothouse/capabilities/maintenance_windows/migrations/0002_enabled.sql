-- Those that are disabled among many that are not, and the other way round.
create index maintenance_window_enabled on maintenance_window (account_id, region, enabled, window_id);
