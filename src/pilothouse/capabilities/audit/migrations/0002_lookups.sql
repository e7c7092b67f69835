-- Every attribute of LookupEvents has an index. All records of an account are those that read and those that do not.
drop index audit_record_by_time;
create index audit_record_by_reading on audit_record (account_id, region, read_only, at, event_id);
create index audit_record_by_source on audit_record (account_id, region, event_source, at, event_id);

-- Types stand among the names behind a slash, with which no name begins. Older records have them in their events alone.
insert into audit_name (account_id, region, name, at, event_id)
  select r.account_id, r.region, '/' || t.type, r.at, r.event_id
  from audit_record r
  join (
    select 'AWS::SSM::Parameter' as type
    union all select 'AWS::SSM::Document'
    union all select 'AWS::SSM::ManagedInstance'
    union all select 'AWS::SSM::Association'
    union all select 'AWS::EC2::Instance'
    union all select 'AWS::SecretsManager::Secret'
    union all select 'AWS::KMS::Key'
    union all select 'AWS::KMS::Alias'
    union all select 'AWS::IAM::User'
    union all select 'AWS::IAM::Group'
    union all select 'AWS::IAM::Role'
    union all select 'AWS::IAM::ManagedPolicy'
    union all select 'AWS::IAM::InstanceProfile'
    union all select 'AWS::Pilothouse::Resource'
  ) t on replace(r.body, '"type":"' || t.type || '"', '') <> r.body
  where replace(r.names, '"/AWS::', '') = r.names
  on conflict (account_id, region, name, at, event_id) do nothing;

-- Records of changes lie here for a moment, without an index, and go into table, indexes and chain in bulk.
create table audit_waiting (
  place integer primary key autoincrement,
  line blob not null
);
