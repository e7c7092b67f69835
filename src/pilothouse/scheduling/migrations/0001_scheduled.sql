-- What is to happen at a time. due_at: when it is due; look_at: when to try, later than that after a failure.
create table scheduled (
  kind text not null,
  key text not null,
  account_id text not null,
  region text not null,
  due_at bigint not null,
  look_at bigint not null,
  failures bigint not null,
  constraint scheduled_pk primary key (kind, key)
);

create index scheduled_look on scheduled (look_at);
create index scheduled_coming on scheduled (account_id, region, due_at);
