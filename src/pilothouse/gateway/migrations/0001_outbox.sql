-- Messages to nodes, who holds which node's control channel, and the tokens that open one.

create table outbox_content (
  content_id text not null,
  content text not null,
  expires_at bigint not null,
  constraint outbox_content_pk primary key (content_id)
);

create index outbox_content_expires on outbox_content (expires_at);

-- next_at: when the message is due; null while it is parked (behind its gate, or its node is away) or done.
-- give_up_at: until when an answer to a transmission is waited for; null when none is awaited.
create table outbox_message (
  message_id text not null,
  account_id text not null,
  region text not null,
  node_id text not null,
  gate text not null,
  topic text not null,
  content_id text,
  content text,
  renewed bigint not null,
  state text not null,
  via text,
  created_at bigint not null,
  first_sent_at bigint,
  last_sent_at bigint,
  attempts bigint not null,
  refusals bigint not null,
  faults bigint not null,
  next_at bigint,
  give_up_at bigint,
  start_deadline bigint,
  expires_at bigint not null,
  constraint outbox_message_pk primary key (message_id)
);

create index outbox_message_node on outbox_message (node_id, state);

create index outbox_message_gate on outbox_message (gate, state, next_at, node_id);

create index outbox_message_due on outbox_message (next_at);

create index outbox_message_give_up on outbox_message (give_up_at);

create index outbox_message_expires on outbox_message (expires_at);

create table gateway_process (
  process_id text not null,
  seen_at bigint not null,
  constraint gateway_process_pk primary key (process_id)
);

create table node_channel (
  node_id text not null,
  account_id text not null,
  region text not null,
  process_id text not null,
  channel_id text not null,
  opened_at bigint not null,
  constraint node_channel_pk primary key (node_id)
);

create index node_channel_process on node_channel (process_id, node_id);

create table control_channel_token (
  token_hash text not null,
  account_id text not null,
  region text not null,
  node_id text not null,
  expires_at bigint not null,
  constraint control_channel_token_pk primary key (token_hash)
);

create index control_channel_token_expires on control_channel_token (expires_at);
