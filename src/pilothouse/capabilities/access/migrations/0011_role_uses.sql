-- When a session of a role or a node last asked for something, and where; written behind. Epoch milliseconds, 0: never.
alter table iam_role add column used_at bigint not null default 0;
alter table iam_role add column used_region text not null default '';
