-- A name of an account that no other account of the installation has.
create table iam_account_alias (
  account_id text not null,
  alias text not null,
  constraint iam_account_alias_pk primary key (account_id),
  constraint iam_account_alias_unique unique (alias)
);

-- What passwords of the account's users would have to be like, as JSON.
create table iam_password_policy (
  account_id text not null,
  rules text not null,
  constraint iam_password_policy_pk primary key (account_id)
);
