-- Activations, and the nodes registered with them.
create table activation (
  activation_id text not null,
  account_id text not null,
  region text not null,
  code_hash blob not null,
  iam_role text not null,
  description text,
  default_instance_name text,
  registration_limit bigint not null,
  registrations_count bigint not null,
  expires_at bigint not null,
  created_at bigint not null,
  tags text not null,
  registration_metadata text not null,
  constraint activation_pk primary key (activation_id)
);

create index activation_by_creation on activation (account_id, region, created_at, activation_id);

create table node (
  node_id text not null,
  account_id text not null,
  region text not null,
  activation_id text not null,
  iam_role text not null,
  default_instance_name text,
  public_key blob not null,
  public_key_hash text not null,
  fingerprint text not null,
  registered_at bigint not null,
  last_contact_at bigint,
  agent_name text,
  agent_version text,
  agent_status text,
  platform_type text,
  platform_name text,
  platform_version text,
  ip_address text,
  computer_name text,
  availability_zone text,
  availability_zone_id text,
  connection_channel text,
  constraint node_pk primary key (node_id)
);

create index node_by_region on node (account_id, region, node_id);
create index node_by_public_key on node (public_key_hash);

-- Ids are never used again, and the agents of these are told that they are refused for good.
create table deregistered_node (
  node_id text not null,
  account_id text not null,
  region text not null,
  deregistered_at bigint not null,
  constraint deregistered_node_pk primary key (node_id)
);
