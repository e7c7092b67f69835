-- With the account and the region in front, a planner that knows nothing yet of a table that grew takes this index for
-- look-ups by path as well, and reads all of the account's parameters.
drop index parameter_by_parent;
create index parameter_by_parent on parameter (parent, account_id, region, path);
