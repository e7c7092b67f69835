-- Answers of writing calls, kept for a while so that a retry gets the answer and does not run twice.
create table replayed_call (
  key text not null,
  status bigint not null,
  sealed_body blob not null,
  expires_at bigint not null,
  constraint replayed_call_pk primary key (key)
);
create index replayed_call_expires_at on replayed_call (expires_at);
