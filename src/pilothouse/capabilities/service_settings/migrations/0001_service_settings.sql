-- Service settings that an account changed; one without a row has its default.
create table service_setting (
  account_id text not null,
  region text not null,
  setting_id text not null,
  setting_value text not null,
  modified_at bigint not null,
  modified_by text not null,
  constraint service_setting_pk primary key (account_id, region, setting_id)
);
