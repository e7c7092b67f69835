-- Documents that accounts made; those that come with the installation are files. `last_number` only grows: the number of
-- a deleted version is not given again.
create table document (
  account_id text not null,
  region text not null,
  name text not null,
  kind text not null,
  default_number bigint not null,
  latest_number bigint not null,
  last_number bigint not null,
  created_at bigint not null,
  constraint document_pk primary key (account_id, region, name)
);
-- `body` is the content as it was given, `content` the same as JSON where that is another text.
create table document_version (
  account_id text not null,
  region text not null,
  name text not null,
  number bigint not null,
  version_name text,
  display_name text,
  format text not null,
  body text not null,
  content text,
  hash text not null,
  schema_version text not null,
  description text not null,
  platforms text not null,
  target_type text,
  requires text not null,
  author text not null,
  created_at bigint not null,
  review_status text not null,
  constraint document_version_pk primary key (account_id, region, name, number),
  constraint document_version_name_once unique (account_id, region, name, version_name)
);
-- `guest`: the account that it is shared with, or all.
create table document_share (
  account_id text not null,
  region text not null,
  name text not null,
  guest text not null,
  shared_version text not null,
  constraint document_share_pk primary key (account_id, region, name, guest)
);
create index document_share_by_guest on document_share (region, guest, account_id, name);
create table document_attachment (
  account_id text not null,
  region text not null,
  name text not null,
  number bigint not null,
  attachment text not null,
  position bigint not null,
  size bigint not null,
  hash text not null,
  sealed blob not null,
  constraint document_attachment_pk primary key (account_id, region, name, number, attachment)
);
create table document_review (
  account_id text not null,
  region text not null,
  name text not null,
  number bigint not null,
  position bigint not null,
  status text not null,
  comments text not null,
  reviewer text not null,
  created_at bigint not null,
  updated_at bigint not null,
  constraint document_review_pk primary key (account_id, region, name, number, position)
);
