-- IAM roles. `trust` is the policy that says who may take one on; times are epoch milliseconds, durations seconds.
create table iam_role (
  account_id text not null,
  name_key text not null,
  name text not null,
  path text not null,
  role_id text not null,
  description text not null,
  trust text not null,
  max_session bigint not null,
  created_at bigint not null,
  constraint iam_role_pk primary key (account_id, name_key),
  constraint iam_role_id_unique unique (role_id)
);
