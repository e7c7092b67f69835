-- Instance profiles: a role by another name, of which a profile holds one at most (empty: none).
create table iam_instance_profile (
  account_id text not null,
  name_key text not null,
  name text not null,
  path text not null,
  profile_id text not null,
  role_id text not null,
  created_at bigint not null,
  constraint iam_instance_profile_pk primary key (account_id, name_key),
  constraint iam_instance_profile_id_unique unique (profile_id)
);
create index iam_instance_profile_role on iam_instance_profile (account_id, role_id, name_key);
