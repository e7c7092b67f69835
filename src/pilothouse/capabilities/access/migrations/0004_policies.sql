-- Managed policies. Their documents are in versions, of which the default one counts.
create table iam_policy (
  account_id text not null,
  name_key text not null,
  name text not null,
  path text not null,
  policy_id text not null,
  description text not null,
  default_version bigint not null,
  last_version bigint not null,
  created_at bigint not null,
  updated_at bigint not null,
  constraint iam_policy_pk primary key (account_id, name_key),
  constraint iam_policy_id_unique unique (policy_id)
);

create table iam_policy_version (
  account_id text not null,
  policy_id text not null,
  version bigint not null,
  document text not null,
  created_at bigint not null,
  constraint iam_policy_version_pk primary key (account_id, policy_id, version)
);

-- Which managed policies a user or role (`owner_kind`) holds (`use` is attached) and is bounded by (`use` is boundary).
create table iam_attachment (
  account_id text not null,
  owner_id text not null,
  use text not null,
  policy_arn text not null,
  policy_name text not null,
  owner_kind text not null,
  constraint iam_attachment_pk primary key (account_id, owner_id, use, policy_arn)
);
create index iam_attachment_policy on iam_attachment (account_id, policy_arn, use, owner_id);
