create table topic (
  account_id text not null,
  region text not null,
  name text not null,
  display_name text not null,
  policy text not null,
  delivery_policy text not null,
  signature_version text not null,
  created_at bigint not null,
  constraint topic_pk primary key (account_id, region, name)
);

-- Who gets what a topic is told. One that has left (left_at) gets nothing more but the word that it has, and may come
-- back for a while with the token in that.
create table topic_subscription (
  subscription_id text not null,
  account_id text not null,
  region text not null,
  topic text not null,
  protocol text not null,
  endpoint text not null,
  server text not null,
  raw bigint not null,
  filter_policy text not null,
  filter_scope text not null,
  delivery_policy text not null,
  created_at bigint not null,
  asked_at bigint not null,
  confirmed_at bigint,
  authenticated bigint not null,
  left_at bigint,
  state text not null,
  generation bigint not null,
  failures bigint not null,
  failing_since bigint,
  next_at bigint not null,
  last_error text not null,
  last_status bigint,
  last_success_at bigint,
  dropped bigint not null,
  holder text,
  held_until bigint,
  constraint topic_subscription_pk primary key (subscription_id)
);
create index topic_subscription_scope on topic_subscription (account_id, region, topic, subscription_id);

create table topic_message (
  message_id text not null,
  account_id text not null,
  region text not null,
  topic text not null,
  at bigint not null,
  subject text,
  message text not null,
  structured bigint not null,
  attributes text not null,
  constraint topic_message_pk primary key (message_id)
);
create index topic_message_at on topic_message (at);

-- What a subscriber is to get, in this order. `kind` is `notification`, or `subscribed` and `unsubscribed` for what the
-- server itself has to say, which has no topic_message.
create table topic_delivery (
  number integer primary key autoincrement,
  subscription_id text not null,
  account_id text not null,
  region text not null,
  kind text not null,
  message_id text not null,
  at bigint not null,
  refusals bigint not null
);
create index topic_delivery_next on topic_delivery (subscription_id, number);
create index topic_delivery_message on topic_delivery (message_id);
create index topic_delivery_at on topic_delivery (at);

-- Keys that notifications are signed with, of the whole installation; the newest signs.
create table topic_signing_key (
  fingerprint text not null,
  certificate text not null,
  sealed_key blob not null,
  created_at bigint not null,
  expires_at bigint not null,
  constraint topic_signing_key_pk primary key (fingerprint)
);
