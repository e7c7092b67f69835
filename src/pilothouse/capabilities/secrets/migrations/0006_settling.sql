-- settles_at: until when readers of the current value wait, because its password is being changed. Rarely anything.
alter table secret add column settles_at bigint;
create index secret_settling on secret (account_id, region, settles_at) where settles_at is not null;
