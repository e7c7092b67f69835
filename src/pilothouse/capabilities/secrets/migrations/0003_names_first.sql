-- As resource_tag: a search by tag must not look as good through all names of the account as through the tag's index.
create table secret_tag_by_name (
  account_id text not null,
  region text not null,
  name text not null,
  tag_key text not null,
  tag_value text not null,
  position bigint not null,
  constraint secret_tag_names_pk primary key (name, account_id, region, tag_key)
);
insert into secret_tag_by_name (account_id, region, name, tag_key, tag_value, position)
select account_id, region, name, tag_key, tag_value, position from secret_tag;
drop table secret_tag;
alter table secret_tag_by_name rename to secret_tag;
create index secret_tag_by_value on secret_tag (tag_key, account_id, region, tag_value, name);
