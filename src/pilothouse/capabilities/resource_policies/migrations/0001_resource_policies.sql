-- Policies on resources of other capabilities, and the accounts that they let in.
create table resource_policy (
  account_id text not null,
  region text not null,
  resource_arn text not null,
  policy_id text not null,
  policy_hash text not null,
  policy text not null,
  modified_at bigint not null,
  constraint resource_policy_pk primary key (account_id, region, resource_arn, policy_id)
);
create table resource_policy_guest (
  account_id text not null,
  region text not null,
  resource_arn text not null,
  policy_id text not null,
  guest_id text not null,
  constraint resource_policy_guest_pk primary key (guest_id, region, resource_arn, account_id, policy_id)
);
