-- Since when the uses in kms_key_use are kept: one row, written by the first server that keeps them.
create table kms_key_use_kept (
  one bigint not null,
  since bigint not null,
  constraint kms_key_use_kept_pk primary key (one)
);
