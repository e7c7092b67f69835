-- Executions of runbooks, their steps, and what these wait for.

-- Texts of runbooks, each once, however many executions there are.
create table automation_runbook (
  digest text not null,
  content text not null,
  used_at bigint not null,
  constraint automation_runbook_pk primary key (digest)
);

-- kind: `runbook` does steps; `targets` and `locations` start one execution for each target or place.
-- sealed: parameters, variables, outputs, the caller and what was asked for, as JSON under the vault.
create table automation_execution (
  execution_id text not null,
  account_id text not null,
  region text not null,
  parent_id text not null,
  parent_step_id text not null,
  position bigint not null,
  kind text not null,
  status text not null,
  started_at bigint not null,
  ended_at bigint,
  document_name text not null,
  document_version text not null,
  digest text not null,
  mode text not null,
  current_step text not null,
  current_action text not null,
  granted_step text not null,
  stop_asked text not null,
  stop_at bigint,
  cross_account bigint not null,
  subtype text not null,
  association_id text not null,
  ops_item_id text not null,
  resource_group text not null,
  sealed blob not null,
  constraint automation_execution_pk primary key (execution_id)
);

create index automation_execution_place on automation_execution (account_id, region, started_at, execution_id);
create index automation_execution_parent on automation_execution (parent_id, position);
create index automation_execution_ended on automation_execution (ended_at);
create index automation_execution_open on automation_execution (account_id, region, ended_at);

-- Client tokens, with what was asked for by each.
create table automation_token (
  account_id text not null,
  region text not null,
  token text not null,
  digest text not null,
  execution_id text not null,
  made_at bigint not null,
  constraint automation_token_pk primary key (account_id, region, token)
);

create index automation_token_made on automation_token (made_at);

-- position: the order in which steps of the execution began. parent_step_id and iteration: of the loop around it.
-- due_at: when its action goes on; deadline: when its time is over; call_at: when it is performed (again).
create table automation_step (
  step_id text not null,
  execution_id text not null,
  position bigint not null,
  name text not null,
  action text not null,
  parent_step_id text not null,
  iteration bigint not null,
  status text not null,
  started_at bigint not null,
  ended_at bigint,
  attempt bigint not null,
  turn text not null,
  goes_to text,
  due_at bigint,
  deadline bigint,
  call_at bigint,
  calls bigint not null,
  sealed blob not null,
  constraint automation_step_pk primary key (step_id)
);

create index automation_step_of on automation_step (execution_id, position);
create index automation_step_call on automation_step (call_at);

create table automation_wait (
  wait_key text not null,
  step_id text not null,
  execution_id text not null,
  constraint automation_wait_pk primary key (wait_key, step_id)
);

create index automation_wait_step on automation_wait (step_id);

create table automation_preview (
  preview_id text not null,
  account_id text not null,
  region text not null,
  made_at bigint not null,
  preview text not null,
  constraint automation_preview_pk primary key (preview_id)
);

create index automation_preview_made on automation_preview (made_at);
