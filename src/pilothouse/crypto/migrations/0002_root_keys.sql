-- The root keys, by version. `origin` is `random`, or `master key` for the one that was the master key itself before
-- there was a ring. A retired one is removed for good once nothing lies under it any more.
create table root_key (
  version bigint not null,
  origin text not null,
  created_at bigint not null,
  retired_at bigint,
  constraint root_key_pk primary key (version)
);

-- Each root key wrapped by the master key, and by a second one too while the master key changes.
create table root_key_wrapping (
  version bigint not null,
  master text not null,
  master_name text not null,
  wrapped blob not null,
  wrapped_at bigint not null,
  constraint root_key_wrapping_pk primary key (version, master)
);
