create table pending_role (
  account_id text not null,
  iam_role text not null,
  primary key (account_id, iam_role)
);
insert into pending_role (account_id, iam_role)
  select account_id, iam_role from activation union select account_id, iam_role from node;
