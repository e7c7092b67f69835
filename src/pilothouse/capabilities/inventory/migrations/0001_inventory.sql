-- Inventory: what nodes sent of each type, and an index of the distinct entries in it.

-- A type that was ever sent here. attributes (a JSON list), version: of custom types. disabled: versions that are
-- ignored (a JSON list).
create table inventory_kind (
  kind_id integer primary key autoincrement,
  account_id text not null,
  region text not null,
  type_name text not null,
  version text not null,
  attributes text not null,
  disabled text not null
);

create unique index inventory_kind_name on inventory_kind (account_id, region, type_name);

-- What a node said last of a type. content: the entries as they came, as compressed JSON. number: of its version.
create table inventory_item (
  kind_id bigint not null,
  node_id text not null,
  schema_version text not null,
  capture_time text not null,
  content_hash text not null,
  content blob not null,
  entries bigint not null,
  bytes bigint not null,
  number bigint not null,
  changed_at bigint not null,
  constraint inventory_item_pk primary key (kind_id, node_id)
);

create index inventory_item_node on inventory_item (node_id, kind_id);

-- What it said before.
create table inventory_version (
  kind_id bigint not null,
  node_id text not null,
  number bigint not null,
  schema_version text not null,
  capture_time text not null,
  content blob not null,
  entries bigint not null,
  changed_at bigint not null,
  constraint inventory_version_pk primary key (kind_id, node_id, number)
);

create index inventory_version_node on inventory_version (node_id);

-- An entry that nodes have, once however many have it. digest: of its content. unused_since: nobody had it then.
create table inventory_entry (
  entry_id integer primary key autoincrement,
  kind_id bigint not null,
  digest blob not null,
  content text not null,
  unused_since bigint
);

create unique index inventory_entry_digest on inventory_entry (kind_id, digest);
create index inventory_entry_unused on inventory_entry (entry_id) where unused_since is not null;

-- By which values entries are found; of long ones the beginning.
create table inventory_attribute (
  kind_id bigint not null,
  attribute text not null,
  value text not null,
  entry_id bigint not null,
  constraint inventory_attribute_pk primary key (kind_id, attribute, value, entry_id)
);

create index inventory_attribute_entry on inventory_attribute (entry_id);

-- Which nodes have an entry. moment: the one attribute that differs from node to node, such as the time of installation.
create table inventory_holding (
  entry_id bigint not null,
  node_id text not null,
  moment text not null,
  constraint inventory_holding_pk primary key (entry_id, node_id, moment)
);

-- versions: items by schema version when it began, as a JSON object.
create table inventory_deletion (
  deletion_id text not null,
  account_id text not null,
  region text not null,
  type_name text not null,
  schema_option text not null,
  client_token text,
  started_at bigint not null,
  updated_at bigint not null,
  ended bigint not null,
  versions text not null,
  remaining text not null,
  after_node text not null,
  constraint inventory_deletion_pk primary key (deletion_id)
);

create index inventory_deletion_newest on inventory_deletion (account_id, region, started_at, deletion_id);
create unique index inventory_deletion_token on inventory_deletion (account_id, region, client_token);

-- Where inventory is copied to. settings: the request's S3Destination or SyncSource, as JSON.
create table data_sync (
  account_id text not null,
  region text not null,
  sync_name text not null,
  sync_type text not null,
  settings text not null,
  created_at bigint not null,
  modified_at bigint not null,
  synced_at bigint,
  succeeded_at bigint,
  status text not null,
  message text not null,
  retry_at bigint not null,
  failures bigint not null,
  constraint data_sync_pk primary key (account_id, region, sync_name)
);

-- What of it is to be copied, or removed there, anew. turn: changes whenever it is wanted again.
create table data_sync_waiting (
  account_id text not null,
  region text not null,
  sync_name text not null,
  node_id text not null,
  type_name text not null,
  turn bigint not null,
  constraint data_sync_waiting_pk primary key (account_id, region, sync_name, node_id, type_name)
);
