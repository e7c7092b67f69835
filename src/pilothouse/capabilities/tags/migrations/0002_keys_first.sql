-- With the account and the region in front, a planner that knows nothing yet of a table that grew takes this index for
-- the tags of one resource as well, and reads all of the account's tags.
drop index resource_tag_by_value;
create index resource_tag_by_value on resource_tag
  (tag_key, account_id, region, resource_type, tag_value, resource_id);
