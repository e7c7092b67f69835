create table account (
  account_id text not null,
  name text not null,
  created_at bigint not null,
  constraint account_pk primary key (account_id),
  constraint account_name_unique unique (name)
);

-- Long-lived access keys. The secret is sealed, bound to the account and the key id.
create table access_key (
  access_key_id text not null,
  account_id text not null,
  principal_arn text not null,
  principal_id text not null,
  secret_sealed blob not null,
  status text not null,
  created_at bigint not null,
  constraint access_key_pk primary key (access_key_id)
);
create index access_key_by_account on access_key (account_id, access_key_id);
