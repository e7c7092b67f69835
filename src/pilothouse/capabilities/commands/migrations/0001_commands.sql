-- A command, and its invocation on each node.

-- open: 1 until every invocation is final. waiting: invocations that were never transmitted (or refused) and are not
-- final. slots: invocations that count against max_concurrency. The n_ columns count final invocations by how they ended.
create table command (
  command_id text not null,
  account_id text not null,
  region text not null,
  document_name text not null,
  document_version text not null,
  comment text not null,
  parameters text not null,
  instance_ids text not null,
  targets text not null,
  settings text not null,
  steps text not null,
  requested_at bigint not null,
  start_deadline bigint not null,
  expires_at bigint not null,
  timeout_seconds bigint not null,
  max_concurrency text not null,
  max_errors text not null,
  concurrency_limit bigint not null,
  error_limit bigint not null,
  status text not null,
  details text not null,
  open bigint not null,
  cancel_asked bigint not null,
  target_count bigint not null,
  started bigint not null,
  waiting bigint not null,
  slots bigint not null,
  n_success bigint not null,
  n_failed bigint not null,
  n_execution_timed_out bigint not null,
  n_delivery_timed_out bigint not null,
  n_cancelled bigint not null,
  n_terminated bigint not null,
  n_undeliverable bigint not null,
  n_invalid_platform bigint not null,
  n_access_denied bigint not null,
  constraint command_pk primary key (command_id)
);

create index command_newest on command (account_id, region, requested_at, command_id);

create index command_due on command (open, expires_at);

create index command_age on command (requested_at);

-- on_node: 1 from a transmission until a refusal or the end. slot: 1 from the first transmission until the end.
create table command_invocation (
  command_id text not null,
  node_id text not null,
  account_id text not null,
  region text not null,
  node_name text not null,
  document_name text not null,
  requested_at bigint not null,
  status text not null,
  details text not null,
  final bigint not null,
  on_node bigint not null,
  slot bigint not null,
  trace text not null,
  finished_at bigint,
  constraint command_invocation_pk primary key (command_id, node_id)
);

create index command_invocation_newest on command_invocation (account_id, region, requested_at, command_id, node_id);

create index command_invocation_node on command_invocation (node_id, requested_at, command_id);

create table command_step (
  command_id text not null,
  node_id text not null,
  name text not null,
  status text not null,
  details text not null,
  code bigint not null,
  started_at bigint,
  finished_at bigint,
  output text not null,
  standard_output text not null,
  standard_error text not null,
  constraint command_step_pk primary key (command_id, node_id, name)
);
