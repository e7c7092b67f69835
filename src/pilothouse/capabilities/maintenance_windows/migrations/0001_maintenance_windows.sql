-- Maintenance windows with their targets and tasks, and what became of each run.

create table maintenance_window (
  window_id text not null,
  account_id text not null,
  region text not null,
  name text not null,
  terms text not null,
  enabled bigint not null,
  since bigint not null,
  created_at bigint not null,
  modified_at bigint not null,
  client_token text not null,
  digest text not null,
  constraint maintenance_window_pk primary key (window_id)
);

create index maintenance_window_place on maintenance_window (account_id, region, window_id);
create index maintenance_window_name on maintenance_window (account_id, region, name, window_id);
create index maintenance_window_token on maintenance_window (account_id, region, client_token);

create table maintenance_window_target (
  window_target_id text not null,
  window_id text not null,
  account_id text not null,
  region text not null,
  terms text not null,
  created_at bigint not null,
  client_token text not null,
  digest text not null,
  constraint maintenance_window_target_pk primary key (window_target_id)
);

create index maintenance_window_target_of on maintenance_window_target (window_id, created_at, window_target_id);

-- By which keys and values the targets that name a node or group are found.
create table maintenance_window_target_value (
  window_target_id text not null,
  window_id text not null,
  account_id text not null,
  region text not null,
  resource_type text not null,
  target_key text not null,
  target_value text not null
);

create index maintenance_window_target_value_owner on maintenance_window_target_value (window_target_id);
create index maintenance_window_target_value_place
  on maintenance_window_target_value (account_id, region, target_key, target_value, window_id);

create table maintenance_window_task (
  window_task_id text not null,
  window_id text not null,
  account_id text not null,
  region text not null,
  terms text not null,
  created_at bigint not null,
  client_token text not null,
  digest text not null,
  constraint maintenance_window_task_pk primary key (window_task_id)
);

create index maintenance_window_task_of on maintenance_window_task (window_id, created_at, window_task_id);

-- due_at: the time of the schedule that it is for; null where somebody asked for it.
create table maintenance_window_execution (
  execution_id text not null,
  window_id text not null,
  account_id text not null,
  region text not null,
  due_at bigint,
  late_ms bigint not null,
  asked_by text not null,
  started_at bigint not null,
  ended_at bigint,
  status text not null,
  details text not null,
  cutoff_at bigint not null,
  ends_at bigint not null,
  cancel_asked bigint not null,
  constraint maintenance_window_execution_pk primary key (execution_id)
);

create unique index maintenance_window_execution_due on maintenance_window_execution (window_id, due_at);
create index maintenance_window_execution_newest
  on maintenance_window_execution (window_id, started_at, execution_id);
create index maintenance_window_execution_open on maintenance_window_execution (window_id, ended_at);
create index maintenance_window_execution_age on maintenance_window_execution (ended_at);

-- task: what the task said when the execution began. batches: for whom, by the registered targets of that moment.
create table maintenance_window_execution_task (
  task_execution_id text not null,
  execution_id text not null,
  window_id text not null,
  window_task_id text not null,
  account_id text not null,
  region text not null,
  position bigint not null,
  task text not null,
  batches text not null,
  status text not null,
  details text not null,
  started_at bigint,
  ended_at bigint,
  constraint maintenance_window_execution_task_pk primary key (task_execution_id)
);

create index maintenance_window_execution_task_of on maintenance_window_execution_task (execution_id, position);

-- work: what is asked of whoever does it. outside_id: the id that it has there, such as a command's.
create table maintenance_window_invocation (
  invocation_id text not null,
  task_execution_id text not null,
  execution_id text not null,
  window_id text not null,
  account_id text not null,
  region text not null,
  position bigint not null,
  task_type text not null,
  batch text not null,
  parameters text not null,
  outside_id text not null,
  status text not null,
  details text not null,
  started_at bigint,
  ended_at bigint,
  call_at bigint,
  calls bigint not null,
  constraint maintenance_window_invocation_pk primary key (invocation_id)
);

create index maintenance_window_invocation_of on maintenance_window_invocation (task_execution_id, position);
create index maintenance_window_invocation_outside on maintenance_window_invocation (outside_id);
create index maintenance_window_invocation_call on maintenance_window_invocation (call_at);
create index maintenance_window_invocation_execution on maintenance_window_invocation (execution_id);
