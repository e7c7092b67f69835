-- access_request: the request by whose access a session was started; empty for others.
alter table session add column access_request text not null default '';

create index session_access on session (completed, access_request);
