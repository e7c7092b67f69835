-- When a parameter's policies act next: one row for each policy that waits, `place` is its position in the list.
create table parameter_due (
  account_id text not null,
  region text not null,
  path text not null,
  place bigint not null,
  due_at bigint not null,
  constraint parameter_due_pk primary key (account_id, region, path, place)
);
create index parameter_due_by_time on parameter_due (due_at, account_id, region, path);
-- How many parameters there are of a tier: the sum over the slots. A parameter counts in the slot of its path, so that
-- creations at once rarely wait for one another.
create table parameter_count (
  account_id text not null,
  region text not null,
  tier text not null,
  slot bigint not null,
  parameters bigint not null,
  constraint parameter_count_pk primary key (account_id, region, tier, slot)
);
insert into parameter_count (account_id, region, tier, slot, parameters)
  select account_id, region, tier, 0, count(*) from parameter group by account_id, region, tier;
