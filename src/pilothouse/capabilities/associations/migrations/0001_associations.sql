-- Associations, their versions, the nodes they are for, and what became of each run.

create table association (
  association_id text not null,
  account_id text not null,
  region text not null,
  version bigint not null,
  document text not null,
  association_name text not null,
  instance_id text not null,
  terms text not null,
  created_at bigint not null,
  updated_at bigint not null,
  status text not null,
  counts text not null,
  last_execution_at bigint,
  last_success_at bigint,
  last_due_at bigint,
  paused_at bigint,
  paused_by text not null,
  legacy_status text,
  scheduled bigint not null,
  constraint association_pk primary key (association_id)
);

create index association_place on association (account_id, region, association_id);
create index association_scheduled on association (account_id, region, scheduled);
create index association_document on association (account_id, region, document, instance_id);

create table association_version (
  association_id text not null,
  version bigint not null,
  created_at bigint not null,
  terms text not null,
  constraint association_version_pk primary key (association_id, version)
);

-- By which tags, ids and groups an association is found when a node changes.
create table association_target (
  association_id text not null,
  account_id text not null,
  region text not null,
  target_key text not null,
  target_value text not null
);

create index association_target_value on association_target (account_id, region, target_key, target_value);
create index association_target_owner on association_target (association_id);

-- A node that an association is for, and how it stands there.
create table association_node (
  association_id text not null,
  node_id text not null,
  account_id text not null,
  region text not null,
  status text not null,
  details text not null,
  execution_id text,
  executed_at bigint,
  summary text not null,
  error_code text not null,
  output_url text not null,
  since bigint not null,
  constraint association_node_pk primary key (association_id, node_id)
);

create index association_node_of on association_node (node_id, association_id);

-- due_at: the time of the schedule that it is for. slots: runs that were let go and have not ended.
create table association_execution (
  execution_id text not null,
  association_id text not null,
  account_id text not null,
  region text not null,
  version bigint not null,
  reason text not null,
  created_at bigint not null,
  due_at bigint,
  late_ms bigint not null,
  status text not null,
  details text not null,
  target_count bigint not null,
  held bigint not null,
  slots bigint not null,
  running bigint not null,
  begun bigint not null,
  ended text not null,
  concurrency_limit bigint not null,
  error_limit bigint,
  executed_at bigint,
  ends_at bigint,
  run_seconds bigint not null,
  constraint association_execution_pk primary key (execution_id)
);

create unique index association_execution_due on association_execution (association_id, due_at);
create index association_execution_newest on association_execution (association_id, created_at, execution_id);
create index association_execution_age on association_execution (created_at);

create table association_run (
  execution_id text not null,
  node_id text not null,
  association_id text not null,
  state text not null,
  status text not null,
  details text not null,
  by_node bigint not null,
  executed_at bigint,
  summary text not null,
  error_code text not null,
  output_url text not null,
  changed_at bigint not null,
  constraint association_run_pk primary key (execution_id, node_id)
);

create index association_run_open on association_run (node_id, association_id, state);
create index association_run_state on association_run (execution_id, state);
