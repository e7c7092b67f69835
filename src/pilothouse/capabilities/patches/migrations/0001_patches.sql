-- Patch baselines, which groups and operating systems they serve, what runs were given of them, and how nodes stand.

create table patch_baseline (
  baseline_id text not null,
  account_id text not null,
  region text not null,
  name text not null,
  operating_system text not null,
  description text,
  terms blob not null,
  created_at bigint not null,
  modified_at bigint not null,
  client_token text not null,
  digest text not null,
  constraint patch_baseline_pk primary key (baseline_id)
);

create index patch_baseline_place on patch_baseline (account_id, region, baseline_id);
create index patch_baseline_token on patch_baseline (account_id, region, client_token);

create table patch_group (
  account_id text not null,
  region text not null,
  patch_group text not null,
  operating_system text not null,
  baseline_id text not null,
  constraint patch_group_pk primary key (account_id, region, patch_group, operating_system)
);

create index patch_group_baseline on patch_group (account_id, region, baseline_id);

create table patch_default (
  account_id text not null,
  region text not null,
  operating_system text not null,
  baseline_id text not null,
  constraint patch_default_pk primary key (account_id, region, operating_system)
);

-- What a baseline said when a run first asked for it; `baseline` also tells overrides apart.
create table patch_snapshot (
  account_id text not null,
  region text not null,
  snapshot_id text not null,
  baseline text not null,
  content blob not null,
  created_at bigint not null,
  constraint patch_snapshot_pk primary key (account_id, region, snapshot_id, baseline)
);

create index patch_snapshot_age on patch_snapshot (created_at);

create table patch_standing (
  account_id text not null,
  region text not null,
  node_id text not null,
  patch_group text not null,
  baseline_id text not null,
  snapshot_id text not null,
  operation text not null,
  started_at bigint not null,
  ended_at bigint not null,
  installed bigint not null,
  installed_other bigint not null,
  installed_pending_reboot bigint not null,
  installed_rejected bigint not null,
  missing bigint not null,
  failed bigint not null,
  not_applicable bigint not null,
  available_security_update bigint not null,
  critical bigint not null,
  security bigint not null,
  other bigint not null,
  not_applicable_unreported bigint not null,
  override_list text not null,
  owner_information text not null,
  reboot_option text not null,
  no_reboot_at bigint,
  constraint patch_standing_pk primary key (account_id, region, node_id)
);

create index patch_standing_group on patch_standing (account_id, region, patch_group, node_id);

create table patch_of_node (
  account_id text not null,
  region text not null,
  node_id text not null,
  patch_id text not null,
  title text not null,
  classification text not null,
  severity text not null,
  state text not null,
  level text not null,
  installed_at bigint not null,
  cves text not null,
  constraint patch_of_node_pk primary key (account_id, region, node_id, patch_id, title)
);

-- The catalogue: what nodes have seen in their repositories.
create table patch_known (
  account_id text not null,
  region text not null,
  operating_system text not null,
  product text not null,
  name text not null,
  arch text not null,
  version text not null,
  about text not null,
  released_at bigint,
  first_seen_at bigint not null,
  last_seen_at bigint not null,
  constraint patch_known_pk primary key (account_id, region, operating_system, product, name, arch, version)
);
create index patch_known_age on patch_known (last_seen_at);
create index patch_known_name on patch_known (account_id, region, name, version);
