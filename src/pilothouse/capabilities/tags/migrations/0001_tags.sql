-- Tags of every taggable resource; the resource itself belongs to another capability.
create table resource_tag (
  account_id text not null,
  region text not null,
  resource_type text not null,
  resource_id text not null,
  tag_key text not null,
  tag_value text not null,
  constraint resource_tag_pk primary key (account_id, region, resource_type, resource_id, tag_key)
);
create index resource_tag_by_value on resource_tag (account_id, region, resource_type, tag_key, tag_value, resource_id);
