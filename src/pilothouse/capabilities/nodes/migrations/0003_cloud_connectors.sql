-- Links to other clouds, as accounts describe them.
create table cloud_connector (
  connector_id text not null,
  account_id text not null,
  region text not null,
  display_name text not null,
  description text,
  role_arn text not null,
  configuration text not null,
  config_connector_arn text,
  created_at bigint not null,
  updated_at bigint not null,
  constraint cloud_connector_pk primary key (connector_id)
);

create unique index cloud_connector_by_name on cloud_connector (account_id, region, display_name);
create index cloud_connector_by_region on cloud_connector (account_id, region, connector_id);
