-- Few are paused, and those are asked for.
create index association_paused on association (account_id, region, association_id) where paused_at is not null;
create index association_named on association (account_id, region, association_name, association_id);
