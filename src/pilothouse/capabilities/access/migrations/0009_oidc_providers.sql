-- Identity providers whose tokens stand for a caller. `url` is without its https://, lists are JSON.
create table iam_oidc_provider (
  account_id text not null,
  url text not null,
  client_ids text not null,
  thumbprints text not null,
  created_at bigint not null,
  constraint iam_oidc_provider_pk primary key (account_id, url)
);
