-- A key may have 50,000 grants; those of one name and of one grantee are found without reading them all.
create index kms_grant_by_name on kms_grant (account_id, region, key_id, name);
create index kms_grant_by_grantee on kms_grant (account_id, region, key_id, grantee, grant_id);
