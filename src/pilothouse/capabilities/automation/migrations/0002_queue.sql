-- Executions that wait until fewer go on, in this order.
create table automation_queue (
  number integer primary key autoincrement,
  account_id text not null,
  region text not null,
  execution_id text not null
);
create index automation_queue_place on automation_queue (account_id, region, number);
create index automation_queue_of on automation_queue (execution_id);
