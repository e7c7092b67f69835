-- Keys, their material (wrapped by the installation's master key, one row for each rotation) and their aliases.
create table kms_key (
  account_id text not null,
  region text not null,
  key_id text not null,
  state text not null,
  manager text not null,
  description text not null,
  material_version bigint not null,
  created_at bigint not null,
  constraint kms_key_pk primary key (account_id, region, key_id)
);
create table kms_material (
  account_id text not null,
  region text not null,
  key_id text not null,
  version bigint not null,
  wrapped blob not null,
  created_at bigint not null,
  constraint kms_material_pk primary key (account_id, region, key_id, version)
);
create table kms_alias (
  account_id text not null,
  region text not null,
  alias text not null,
  key_id text not null,
  created_at bigint not null,
  constraint kms_alias_pk primary key (account_id, region, alias)
);
create index kms_alias_by_key on kms_alias (account_id, region, key_id, alias);
