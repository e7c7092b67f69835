-- Groups and lists look for secrets by their tags.
create index secret_tag_by_value on secret_tag (tag_key, account_id, region, tag_value, name);
