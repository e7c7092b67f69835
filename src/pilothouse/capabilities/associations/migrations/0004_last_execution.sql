-- Those that were executed before or after a time, in its order.
create index association_executed on association (account_id, region, last_execution_at, association_id);
