-- Passwords of users. The hash is sealed besides: who has the database alone has nothing to guess against.
-- `session_key` is in the credentials of each sign-in; a new one ends them all.
create table iam_login_profile (
  account_id text not null,
  user_id text not null,
  password_sealed blob not null,
  session_key text not null,
  reset_required bigint not null,
  created_at bigint not null,
  changed_at bigint not null,
  used_at bigint not null,
  constraint iam_login_profile_pk primary key (account_id, user_id)
);

-- Passwords that were, for the rule that they are not taken again.
create table iam_former_password (
  account_id text not null,
  user_id text not null,
  number bigint not null,
  password_sealed blob not null,
  constraint iam_former_password_pk primary key (account_id, user_id, number)
);

-- Second factors. `user_id` is empty until one is enabled; `drift` is how far its clock is ahead, in steps of 30 s;
-- a code counts once: its step is above `last_step`.
create table iam_mfa_device (
  account_id text not null,
  serial text not null,
  user_id text not null,
  seed_sealed blob not null,
  created_at bigint not null,
  enabled_at bigint not null,
  drift bigint not null,
  last_step bigint not null,
  constraint iam_mfa_device_pk primary key (account_id, serial)
);
create index iam_mfa_device_by_user on iam_mfa_device (account_id, user_id);

-- Attempts to sign in. `name` is a keyed hash: people type passwords where names belong.
create table sign_in_attempt (
  name text not null,
  failures bigint not null,
  last_at bigint not null,
  good_at bigint not null,
  constraint sign_in_attempt_pk primary key (name)
);
create index sign_in_attempt_by_time on sign_in_attempt (last_at);

-- Identity providers that people can sign in with. Lists are JSON.
create table sign_in_provider (
  account_id text not null,
  name text not null,
  provider_url text not null,
  client_id text not null,
  secret_sealed blob,
  role_arns text not null,
  redirect_uris text not null,
  scopes text not null,
  constraint sign_in_provider_pk primary key (account_id, name)
);
