-- A machine's first disk gets the content of a snapshot, which is that of an image where image_id is not empty.
create table machine_root_task (
  account_id text not null,
  region text not null,
  task_id text not null,
  machine_id text not null,
  snapshot_id text not null,
  image_id text not null,
  delete_replaced bigint not null,
  client_token text not null,
  state text not null,
  created_at bigint not null,
  ended_at bigint,
  reason text not null,
  constraint machine_root_task_pk primary key (account_id, region, task_id)
);
create index machine_root_task_token on machine_root_task (account_id, region, client_token);
create index machine_root_task_ended on machine_root_task (ended_at);
