-- Log groups and streams, and their events in chunks: one row for each minute of a PutLogEvents (or part of one), whose
-- body is compressed and encrypted under the key of its group. `first_at` and `last_at` lie in the same minute.
create table log_group (
  group_id text not null,
  account_id text not null,
  region text not null,
  name text not null,
  class text not null,
  created_at bigint not null,
  retention_days bigint not null,
  protected bigint not null,
  bytes bigint not null,
  kms_key text not null,
  kms_blob blob,
  sealed_key blob,
  constraint log_group_pk primary key (group_id)
);
create unique index log_group_by_name on log_group (account_id, region, name);

-- Groups and streams that are gone, whose chunks (and streams) a job removes.
create table log_removed (
  removed_id text not null,
  account_id text not null,
  region text not null,
  constraint log_removed_pk primary key (removed_id)
);

create table log_stream (
  stream_id text not null,
  account_id text not null,
  region text not null,
  group_id text not null,
  name text not null,
  created_at bigint not null,
  first_at bigint not null,
  last_at bigint not null,
  ingested_at bigint not null,
  bytes bigint not null,
  constraint log_stream_pk primary key (stream_id)
);
create unique index log_stream_by_name on log_stream (group_id, name);
create index log_stream_by_time on log_stream (group_id, last_at, name);

create table log_chunk (
  chunk_id text not null,
  account_id text not null,
  region text not null,
  group_id text not null,
  stream_id text not null,
  ingested_at bigint not null,
  first_at bigint not null,
  last_at bigint not null,
  bytes bigint not null,
  body blob not null,
  constraint log_chunk_pk primary key (chunk_id)
);
create index log_chunk_by_stream on log_chunk (stream_id, first_at);
create index log_chunk_by_group on log_chunk (group_id, first_at, stream_id);
create index log_chunk_by_ingestion on log_chunk (group_id, ingested_at);
