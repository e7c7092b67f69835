-- Rotations: each a row that moves from step to step, and what was seen of its steps, never with a value.
-- try_at: when somebody may go on with it; who does moves it ahead for as long as the step may take.
create table secret_rotation (
  run_id text not null,
  account_id text not null,
  region text not null,
  name text not null,
  suffix text not null,
  version_id text not null,
  function text not null,
  test_only bigint not null,
  state text not null,
  step text not null,
  attempts bigint not null,
  outside_id text not null,
  error text not null,
  started_at bigint not null,
  ended_at bigint,
  try_at bigint,
  holder text,
  constraint secret_rotation_pk primary key (run_id)
);
create index secret_rotation_due on secret_rotation (try_at) where try_at is not null;
create index secret_rotation_of on secret_rotation (account_id, region, name, started_at);
create table secret_rotation_line (
  run_id text not null,
  number bigint not null,
  at bigint not null,
  step text not null,
  line text not null,
  constraint secret_rotation_line_pk primary key (run_id, number)
);
