-- What deletes and expiry took away, as it was: `number` tells apart several lives of one path. Ciphertexts stay sealed
-- and bound to the path and version they were made for.
create table parameter_trash (
  account_id text not null,
  region text not null,
  path text not null,
  number bigint not null,
  name text not null,
  version bigint not null,
  type text not null,
  labels text not null,
  tags text not null,
  created_at bigint not null,
  deleted_at bigint not null,
  forget_at bigint not null,
  constraint parameter_trash_pk primary key (account_id, region, path, number)
);
create index parameter_trash_by_time on parameter_trash (forget_at);
create table parameter_trash_version (
  account_id text not null,
  region text not null,
  path text not null,
  number bigint not null,
  version bigint not null,
  type text not null,
  value text,
  sealed blob,
  key_ref text,
  data_type text not null,
  tier text not null,
  description text,
  allowed_pattern text,
  policies text not null,
  modified_at bigint not null,
  modified_by text not null,
  constraint parameter_trash_version_pk primary key (account_id, region, path, number, version)
);
