-- One row: which master key the values of this database are sealed under.
create table installation (
  id bigint not null,
  key_fingerprint text not null,
  created_at bigint not null,
  constraint installation_pk primary key (id)
);
