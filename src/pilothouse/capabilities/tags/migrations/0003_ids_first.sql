-- With the account and the region in front of the key as well, a planner that knows nothing yet of a table that grew
-- finds both indexes equally good for a search by tag, and may read every resource of the account.
create table resource_tag_by_id (
  account_id text not null,
  region text not null,
  resource_type text not null,
  resource_id text not null,
  tag_key text not null,
  tag_value text not null,
  constraint resource_tag_ids_pk primary key (resource_id, account_id, region, resource_type, tag_key)
);
insert into resource_tag_by_id (account_id, region, resource_type, resource_id, tag_key, tag_value)
select account_id, region, resource_type, resource_id, tag_key, tag_value from resource_tag;
drop table resource_tag;
alter table resource_tag_by_id rename to resource_tag;
create index resource_tag_by_value on resource_tag
  (tag_key, account_id, region, resource_type, tag_value, resource_id);
