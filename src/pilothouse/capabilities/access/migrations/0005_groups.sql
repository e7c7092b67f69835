-- IAM groups: what they hold, their users hold. Names are unique without regard to case.
create table iam_group (
  account_id text not null,
  name_key text not null,
  name text not null,
  path text not null,
  group_id text not null,
  created_at bigint not null,
  constraint iam_group_pk primary key (account_id, name_key),
  constraint iam_group_id_unique unique (group_id)
);

create table iam_membership (
  account_id text not null,
  user_id text not null,
  group_id text not null,
  constraint iam_membership_pk primary key (account_id, user_id, group_id)
);
create index iam_membership_group on iam_membership (account_id, group_id, user_id);
