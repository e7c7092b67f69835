-- A secret, its versions (values only as ciphertext), the staging labels in the order they were put on, and its tags in
-- the order they were added. `number` orders versions made in one millisecond.
create table secret (
  account_id text not null,
  region text not null,
  name text not null,
  suffix text not null,
  description text not null,
  key_ref text,
  created_at bigint not null,
  changed_at bigint not null,
  accessed_on bigint,
  purge_at bigint,
  ever_tagged bigint not null,
  versions_made bigint not null,
  constraint secret_pk primary key (account_id, region, name)
);
create index secret_by_purge on secret (purge_at) where purge_at is not null;
create table secret_version (
  account_id text not null,
  region text not null,
  name text not null,
  version_id text not null,
  number bigint not null,
  is_binary bigint not null,
  sealed blob not null,
  key_ref text,
  created_at bigint not null,
  accessed_on bigint,
  constraint secret_version_pk primary key (account_id, region, name, version_id)
);
create index secret_version_by_number on secret_version (account_id, region, name, number);
create table secret_stage (
  account_id text not null,
  region text not null,
  name text not null,
  stage text not null,
  version_id text not null,
  position bigint not null,
  constraint secret_stage_pk primary key (account_id, region, name, stage)
);
create table secret_tag (
  account_id text not null,
  region text not null,
  name text not null,
  tag_key text not null,
  tag_value text not null,
  position bigint not null,
  constraint secret_tag_pk primary key (account_id, region, name, tag_key)
);
