-- What is judged of a node: items, and for each type how the node stands, which is written whenever items are.

-- by_system: made by this server itself; uploads leave these as they are. details: a JSON object.
create table compliance_item (
  account_id text not null,
  region text not null,
  node_id text not null,
  compliance_type text not null,
  item_id text not null,
  title text not null,
  severity text not null,
  status text not null,
  details text not null,
  executed_at bigint not null,
  execution_id text not null,
  execution_type text not null,
  by_system bigint not null,
  constraint compliance_item_pk primary key (account_id, region, node_id, compliance_type, item_id)
);

create index compliance_item_same on compliance_item (account_id, region, compliance_type, item_id, node_id);

-- severity: the highest among the items that do not comply, or among all if all comply.
-- counts: items by status and severity, as a JSON object of objects.
create table compliance_standing (
  account_id text not null,
  region text not null,
  node_id text not null,
  compliance_type text not null,
  status text not null,
  severity text not null,
  overall_severity text not null,
  counts text not null,
  content_hash text not null,
  executed_at bigint not null,
  execution_id text not null,
  execution_type text not null,
  constraint compliance_standing_pk primary key (account_id, region, node_id, compliance_type)
);

create index compliance_standing_type on compliance_standing
  (account_id, region, compliance_type, status, severity, node_id);
