-- Groups of resources: a saved query by tags, or a configuration with members that were named one by one.
create table resource_group (
  account_id text not null,
  region text not null,
  name text not null,
  description text,
  query_type text,
  query text,
  configuration text,
  criticality bigint,
  owner text,
  display_name text,
  constraint resource_group_pk primary key (account_id, region, name)
);
create table resource_group_member (
  account_id text not null,
  region text not null,
  name text not null,
  resource_type text not null,
  resource_id text not null,
  resource_arn text not null,
  constraint resource_group_member_pk primary key (account_id, region, name, resource_type, resource_id)
);
