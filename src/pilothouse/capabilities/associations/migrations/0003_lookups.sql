-- Those of a status, and those for a group of whatever account, without reading all.
create index association_standing on association (account_id, region, status, association_id);
create index association_target_named on association_target (target_key, association_id);
