-- When a key was last used, where and for what; written behind, some minutes late. Epoch milliseconds, 0: never.
alter table access_key add column used_at bigint not null default 0;
alter table access_key add column used_service text not null default '';
alter table access_key add column used_region text not null default '';
