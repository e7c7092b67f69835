create table audit_record (
  event_id text primary key,
  account_id text not null,
  region text not null,
  at bigint not null,
  event_source text not null,
  event_name text not null,
  username text not null,
  access_key_id text not null,
  read_only bigint not null,
  names text not null,
  body text not null,
  mac blob not null,
  seq bigint,
  link blob
);
create unique index audit_record_by_seq on audit_record (seq) where seq is not null;
create index audit_record_waiting on audit_record (at, event_id) where seq is null;
create index audit_record_by_time on audit_record (account_id, region, at, event_id);
create index audit_record_by_event on audit_record (account_id, region, event_name, at, event_id);
create index audit_record_by_user on audit_record (account_id, region, username, at, event_id);
create index audit_record_by_access_key on audit_record (account_id, region, access_key_id, at, event_id);

create table audit_name (
  account_id text not null,
  region text not null,
  name text not null,
  at bigint not null,
  event_id text not null,
  primary key (account_id, region, name, at, event_id)
);
create index audit_name_by_event on audit_name (event_id);

create table audit_key (
  one integer primary key,
  sealed blob not null
);

create table audit_chain (
  one integer primary key,
  first_seq bigint not null,
  first_link blob not null,
  last_seq bigint not null,
  last_link blob not null,
  mac blob not null
);

create table audit_sink (
  name text primary key,
  seq bigint not null,
  holder text not null,
  held_until bigint not null
);
