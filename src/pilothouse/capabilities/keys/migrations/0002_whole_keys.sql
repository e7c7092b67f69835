-- What the kms service tells and rules of a key, its materials and aliases; grants; when a key was used last.
alter table kms_key add column key_spec text not null default 'SYMMETRIC_DEFAULT';
alter table kms_key add column key_usage text not null default 'ENCRYPT_DECRYPT';
alter table kms_key add column origin text not null default 'AWS_KMS';
alter table kms_key add column primary_region text;
alter table kms_key add column deletion_at bigint;
alter table kms_key add column pending_days bigint;
alter table kms_key add column rotation_days bigint;
alter table kms_key add column rotated_at bigint;
alter table kms_key add column next_rotation_at bigint;
alter table kms_key add column on_demand_rotations bigint not null default 0;
alter table kms_key add column policy text not null default '';
alter table kms_key add column expiration_model text;
alter table kms_key add column valid_to bigint;
alter table kms_material add column material_id text not null default '';
alter table kms_material add column rotation_type text;
alter table kms_material add column rotated_at bigint;
alter table kms_material add column import_state text;
alter table kms_material add column expiration_model text;
alter table kms_material add column valid_to bigint;
alter table kms_material add column description text not null default '';
alter table kms_alias add column updated_at bigint not null default 0;
create index kms_key_by_deletion on kms_key (deletion_at);
create index kms_key_by_rotation on kms_key (next_rotation_at);
create index kms_key_by_validity on kms_key (valid_to);
create table kms_grant (
  account_id text not null,
  region text not null,
  key_id text not null,
  grant_id text not null,
  name text not null,
  grantee text not null,
  retiring text not null,
  issuing_account text not null,
  operations text not null,
  context_equals text,
  context_subset text,
  source_arn text,
  created_at bigint not null,
  constraint kms_grant_pk primary key (account_id, region, key_id, grant_id)
);
create index kms_grant_by_id on kms_grant (region, grant_id);
create index kms_grant_by_retiring on kms_grant (region, retiring, account_id, grant_id);
create table kms_key_use (
  account_id text not null,
  region text not null,
  key_id text not null,
  operation text not null,
  used_at bigint not null,
  request_id text not null,
  constraint kms_key_use_pk primary key (account_id, region, key_id)
);
