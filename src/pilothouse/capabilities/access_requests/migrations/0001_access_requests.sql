-- Requests for access to a node for a while, and what those said who decide about them.

-- levels: who must approve, as JSON; empty where nobody was asked. ends_at: of the access, once it was approved; before
-- that of the request.
create table access_request (
  request_id text not null,
  account_id text not null,
  region text not null,
  node_id text not null,
  reason text not null,
  requester_arn text not null,
  requester_id text not null,
  requester_name text not null,
  status text not null,
  policy text not null,
  levels text not null,
  topic_arn text not null,
  access_hours bigint not null,
  created_at bigint not null,
  changed_at bigint not null,
  ends_at bigint,
  constraint access_request_pk primary key (request_id)
);

create index access_request_newest on access_request (account_id, region, created_at, request_id);

create index access_request_ends on access_request (status, ends_at);

create table access_decision (
  request_id text not null,
  number bigint not null,
  decision text not null,
  level bigint not null,
  by_arn text not null,
  by_id text not null,
  comment text not null,
  at bigint not null,
  constraint access_decision_pk primary key (request_id, number)
);
