create table bucket (
  name text not null,
  account_id text not null,
  region text not null,
  created_at bigint not null,
  policy text not null,
  tags text not null,
  lifecycle text not null,
  constraint bucket_pk primary key (name)
);
create index bucket_of_account on bucket (account_id, name);

create table bucket_object (
  bucket text not null,
  key text not null,
  account_id text not null,
  region text not null,
  version text not null,
  size bigint not null,
  etag text not null,
  parts bigint not null,
  modified_at bigint not null,
  headers text not null,
  metadata text not null,
  tags text not null,
  checksum text not null,
  constraint bucket_object_pk primary key (bucket, key)
);
create index bucket_object_by_age on bucket_object (bucket, modified_at, key);

create table object_piece (
  version text not null,
  number bigint not null,
  account_id text not null,
  region text not null,
  place text not null,
  size bigint not null,
  md5 text not null,
  checksums text not null,
  modified_at bigint not null,
  blob_id text,
  sealed_key blob,
  sealed_content blob,
  constraint object_piece_pk primary key (version, number)
);
create index object_piece_by_blob on object_piece (blob_id);

create table object_upload (
  bucket text not null,
  key text not null,
  upload_id text not null,
  account_id text not null,
  region text not null,
  initiated_at bigint not null,
  initiator text not null,
  headers text not null,
  metadata text not null,
  tags text not null,
  algorithm text not null,
  checksum_type text not null,
  constraint object_upload_pk primary key (bucket, key, upload_id)
);
create index object_upload_by_id on object_upload (upload_id);

create table object_garbage (
  blob_id text not null,
  account_id text not null,
  region text not null,
  due_at bigint not null,
  constraint object_garbage_pk primary key (blob_id)
);
create index object_garbage_due on object_garbage (due_at);
