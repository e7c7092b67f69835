-- `path` is the name without its leading slash: /x and x are one parameter. The newest version lives in the parameter's
-- own row, so that reading it is one point read; older versions live in parameter_version.
create table parameter (
  account_id text not null,
  region text not null,
  path text not null,
  parent text not null,
  name text not null,
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
  constraint parameter_pk primary key (account_id, region, path),
  constraint parameter_has_one_value check ((value is null) <> (sealed is null))
);
create index parameter_by_parent on parameter (account_id, region, parent, path);
create table parameter_version (
  account_id text not null,
  region text not null,
  path text not null,
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
  constraint parameter_version_pk primary key (account_id, region, path, version),
  constraint parameter_version_has_one_value check ((value is null) <> (sealed is null))
);
create table parameter_label (
  account_id text not null,
  region text not null,
  path text not null,
  label text not null,
  version bigint not null,
  constraint parameter_label_pk primary key (account_id, region, path, label)
);
