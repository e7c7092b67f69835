-- Sessions whose transcripts go to a log group while they go on. Recorded bytes before `place` are there, those before
-- `upto` are on their way; `state` is the line that has begun before `place`, sealed.
create table session_stream (
  session_id text not null,
  place bigint not null,
  upto bigint not null,
  state blob not null,
  constraint session_stream_pk primary key (session_id)
);
