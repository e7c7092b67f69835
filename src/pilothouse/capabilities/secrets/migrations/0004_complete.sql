-- What the rest of Secrets Manager keeps: whose a secret is, rotation, replicas, resource policies.
-- primary_region: where a replicated secret is written; of a replica another region than its own.
-- rotation: the settings as JSON, absent until a rotation was accepted. A version whose `sealed` is empty has no value yet.
alter table secret add column kind text;
alter table secret add column owning_service text;
alter table secret add column primary_region text;
alter table secret add column rotation text;
alter table secret add column rotated_at bigint;
alter table secret add column rotates_at bigint;
create index secret_by_age on secret (account_id, region, created_at, name);
create table secret_replica (
  account_id text not null,
  region text not null,
  name text not null,
  replica_region text not null,
  key_ref text,
  status text not null,
  message text not null,
  constraint secret_replica_pk primary key (account_id, region, name, replica_region)
);
create table secret_policy (
  account_id text not null,
  region text not null,
  name text not null,
  policy text not null,
  arn text not null,
  constraint secret_policy_pk primary key (account_id, region, name)
);
