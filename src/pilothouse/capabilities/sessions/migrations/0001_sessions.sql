-- Sessions, the tokens that open their channels, and what is recorded of them.

-- closed: 1 once the status is final. completed: 1 once the node has said that it is over, or need not be asked.
-- told_on, end_told_on: the control channel on which the node was told of the beginning and of the end.
-- client_, agent_connection: who holds the session's channel now; _process: on which server process.
-- delivery: where the transcript is still to go, as JSON; empty for nowhere.
-- The _due columns are moments at which something must have happened, due_at the first moment to look at the session.
create table session (
  session_id text not null,
  account_id text not null,
  region text not null,
  node_id text not null,
  target text not null,
  document_name text not null,
  kind text not null,
  content text not null,
  owner_arn text not null,
  owner_id text not null,
  owner_key text not null,
  reason text,
  access_type text not null,
  status text not null,
  closed bigint not null,
  completed bigint not null,
  details text not null,
  end_reason text not null,
  ending_by text not null,
  s3_url text not null,
  log_url text not null,
  started_at bigint not null,
  ended_at bigint,
  idle_ms bigint not null,
  most_minutes bigint,
  ends_at bigint,
  told_on text,
  end_told_on text,
  client_connection text,
  client_process text,
  client_seen bigint not null,
  agent_connection text,
  agent_process text,
  agent_seen bigint not null,
  agent_left_at bigint,
  client_due bigint,
  agent_due bigint,
  complete_due bigint,
  active_at bigint not null,
  due_at bigint,
  pausable bigint not null,
  may_be_raw bigint not null,
  settled bigint not null,
  taping text not null,
  input_taped bigint not null,
  next_output bigint not null,
  next_input bigint not null,
  tape_bytes bigint not null,
  tape_sha256 text,
  delivery text not null,
  bytes_sent bigint not null,
  bytes_received bigint not null,
  constraint session_pk primary key (session_id)
);

create index session_newest on session (account_id, region, closed, started_at, session_id);

create index session_due on session (due_at);

create index session_open on session (completed, node_id);

create index session_age on session (closed, ended_at);

create table session_token (
  token_hash text not null,
  session_id text not null,
  role text not null,
  expires_at bigint not null,
  constraint session_token_pk primary key (token_hash)
);

create index session_token_session on session_token (session_id, role);

create index session_token_age on session_token (expires_at);

create index session_undelivered on session (delivery, closed);

create index session_unpacked on session (closed, tape_sha256, ended_at);

-- The recordings of sessions: lines of an asciicast in sealed pieces, by the place of their first byte.
-- packed: 1 for a large piece, whose lines are compressed.
create table session_tape (
  session_id text not null,
  place bigint not null,
  size bigint not null,
  packed bigint not null,
  piece blob not null,
  constraint session_tape_pk primary key (session_id, place)
);
