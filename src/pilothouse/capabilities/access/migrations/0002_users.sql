-- IAM users. Names are unique without regard to case, as IAM's are.
create table iam_user (
  account_id text not null,
  name_key text not null,
  name text not null,
  path text not null,
  user_id text not null,
  created_at bigint not null,
  constraint iam_user_pk primary key (account_id, name_key),
  constraint iam_user_id_unique unique (user_id)
);

-- Policies that stand in their owner. They go with it.
create table iam_inline_policy (
  account_id text not null,
  owner_id text not null,
  name text not null,
  document text not null,
  constraint iam_inline_policy_pk primary key (account_id, owner_id, name)
);
