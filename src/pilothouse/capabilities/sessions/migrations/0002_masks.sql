-- Values that recordings must not show, and the ends of recordings that may be the beginning of one.

-- masks: names of the parameters and secrets, as JSON; empty for none.
alter table session add column masks text not null default '';

create table session_held (
  session_id text not null,
  held blob not null,
  constraint session_held_pk primary key (session_id)
);
