-- Whole outputs of steps, as nodes show them while they run.

-- step_run: the place in a list of a schema 1.2 document, else 0. kept: bytes, the offset that comes next.
-- ended: 1 once the node said so. full: 1 if no more of it is taken. anew: 1 if the step runs again after a reboot.
create table command_output (
  command_id text not null,
  node_id text not null,
  step text not null,
  step_run bigint not null,
  stream text not null,
  kept bigint not null,
  ended bigint not null,
  full_up bigint not null,
  anew bigint not null,
  constraint command_output_pk primary key (command_id, node_id, step, step_run, stream)
);

create table command_output_piece (
  command_id text not null,
  node_id text not null,
  step text not null,
  step_run bigint not null,
  stream text not null,
  place bigint not null,
  size bigint not null,
  piece blob not null,
  constraint command_output_piece_pk primary key (command_id, node_id, step, step_run, stream, place)
);
