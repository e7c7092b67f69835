-- What happened to resources. `number` is drawn when an event is told; `place` is its place among the events of its
-- account and region, without gaps, given so that whoever read up to a place has missed nothing before it.
create table event (
  number integer primary key autoincrement,
  account_id text not null,
  region text not null,
  place bigint,
  event_id text not null,
  at bigint not null,
  detail_type text not null,
  source text not null,
  name text not null,
  envelope text not null
);
create unique index event_place on event (account_id, region, place);
create index event_pending on event (number) where place is null;

create table webhook (
  webhook_id text not null,
  account_id text not null,
  region text not null,
  url text not null,
  pattern text not null,
  path text not null,
  description text not null,
  secret blob not null,
  old_secret blob,
  old_until bigint,
  state text not null,
  created_at bigint not null,
  updated_at bigint not null,
  generation bigint not null,
  place bigint not null,
  mark text not null,
  missed bigint not null,
  failures bigint not null,
  failing_since bigint,
  next_at bigint not null,
  last_error text not null,
  last_status bigint,
  last_success_at bigint,
  last_event_id text,
  holder text,
  held_until bigint,
  constraint webhook_pk primary key (webhook_id)
);
create index webhook_scope on webhook (account_id, region, webhook_id);
