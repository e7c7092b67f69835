-- Where machines are, and how it stands with the link there.
create table machine_connection (
  account_id text not null,
  region text not null,
  name text not null,
  since bigint not null,
  error text not null,
  constraint machine_connection_pk primary key (account_id, region, name)
);

-- A machine as it was last seen. `native` is what the driver calls it, `run` the number of its present run.
create table machine (
  account_id text not null,
  region text not null,
  machine_id text not null,
  connection text not null,
  native text not null,
  name text not null,
  state text not null,
  run bigint,
  size text not null,
  vcpus bigint not null,
  memory_mib bigint not null,
  architecture text not null,
  disks text not null,
  addresses text not null,
  lasting bigint not null,
  made_here bigint not null,
  image_id text not null,
  reservation_id text not null,
  launch_index bigint not null,
  client_token text not null,
  launched_at bigint not null,
  ended_at bigint,
  reason text not null,
  touched_at bigint not null,
  constraint machine_pk primary key (account_id, region, machine_id)
);
create index machine_token on machine (account_id, region, client_token, launch_index);

-- A copy of a disk at a moment. `volume` is what the driver calls it once it is whole.
create table machine_snapshot (
  account_id text not null,
  region text not null,
  snapshot_id text not null,
  connection text not null,
  volume_id text not null,
  machine_id text not null,
  description text not null,
  state text not null,
  volume text not null,
  size_bytes bigint not null,
  created_at bigint not null,
  ended_at bigint,
  reason text not null,
  constraint machine_snapshot_pk primary key (account_id, region, snapshot_id)
);

-- What machines are run from: snapshots of disks, and the form of the machine that they were taken from.
create table machine_image (
  account_id text not null,
  region text not null,
  image_id text not null,
  connection text not null,
  name text not null,
  description text not null,
  machine_id text not null,
  source_image_id text not null,
  source_region text not null,
  client_token text not null,
  state text not null,
  template text not null,
  architecture text not null,
  created_at bigint not null,
  reason text not null,
  constraint machine_image_pk primary key (account_id, region, image_id),
  constraint machine_image_name unique (account_id, region, name)
);

create table machine_image_disk (
  account_id text not null,
  region text not null,
  image_id text not null,
  device text not null,
  snapshot_id text not null,
  constraint machine_image_disk_pk primary key (account_id, region, image_id, device)
);
create index machine_image_disk_snapshot on machine_image_disk (account_id, region, snapshot_id);

-- What is to be done to a subject, in this order; the row goes with the outcome. A process holds it while it acts.
create table machine_work (
  number integer primary key autoincrement,
  account_id text not null,
  region text not null,
  connection text not null,
  subject text not null,
  kind text not null,
  arguments text not null,
  progress text not null,
  created_at bigint not null,
  due_at bigint not null,
  attempt bigint not null,
  holder text not null,
  held_until bigint not null
);
create index machine_work_subject on machine_work (account_id, region, subject, number);
create index machine_work_due on machine_work (due_at);
